"""The app whose messages fail until the file that MENDED names is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from headgate import App, Permanent, Public, Queued

app = App("redriven")


@app.channel("/jobs", key="id", many=True, auth=Public(), read=True, delivery=Queued(), concurrency=2)
def work(job: dict[str, Any]) -> None:
    if not Path(os.environ["MENDED"]).exists():
        raise Permanent("not mended")
    with open(os.environ["EFFECTS"], "ab", buffering=0) as effects:  # noqa: PTH123 - one write, which no kill cuts
        effects.write(b"%s\n" % str(job["id"]).encode())
