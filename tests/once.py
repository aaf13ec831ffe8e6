"""What the workers of one run make together: the first one makes it, the others find it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def once(folder: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` returned when it was called, by whichever worker; it has to be JSON. One that failed is not tried
    again: whoever called it tells why, all others in one line."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            try:
                told = {"made": make()}
            except Exception as error:
                why = str(error).strip() or type(error).__name__
                record.write_text(json.dumps({"failed": why.splitlines()[0][:200]}))
                raise
            record.write_text(json.dumps(told))
    told = json.loads(record.read_text())
    if "failed" in told:
        pytest.fail(f"{name} could not be made, as another test of this run tells: {told['failed']}", pytrace=False)
    made: dict[str, Any] = told["made"]
    return made
