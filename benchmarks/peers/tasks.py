"""What every task queue is given to do: one line, with the time, in the file that HANDLED names."""

from __future__ import annotations

import os
import time

_handled = os.open(os.environ.get("HANDLED", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def handle(order: dict[str, object]) -> None:
    os.write(_handled, b"%s %d\n" % (str(order["record_id"]).encode(), time.time_ns() // 1_000_000))
