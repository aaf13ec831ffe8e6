"""rq on Redis."""

from __future__ import annotations

import os
from typing import Any

from peers.tasks import handle
from redis import Redis
from rq import Queue, Retry

queue = Queue(connection=Redis.from_url(os.environ["TASKS_STORE"]))


def send(order: dict[str, Any]) -> None:
    queue.enqueue(handle, order, retry=Retry(max=2))
