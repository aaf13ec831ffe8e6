"""The app whose messages wait until the file that GO names is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from order import Order

from headgate import App, Public, Queued

app = App("waiting")


@app.channel("/jobs", Order, key="record_id", many=True, auth=Public(), delivery=Queued(), timeout_s=900)
def work(order: Order) -> None:  # noqa: ARG001 - it is told which one
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.1)
