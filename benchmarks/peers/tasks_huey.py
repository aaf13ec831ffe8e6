"""huey on SQLite, every commit synced."""

from __future__ import annotations

import os
from typing import Any

from huey import SqliteHuey
from peers.tasks import handle

queue = SqliteHuey(filename=os.environ["TASKS_STORE"], fsync=True)


@queue.task(retries=2)
def work(order: dict[str, Any]) -> None:
    handle(order)


send = work
