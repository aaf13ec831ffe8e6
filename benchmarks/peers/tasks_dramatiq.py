"""dramatiq on Redis."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from peers.tasks import handle

dramatiq.set_broker(RedisBroker(url=os.environ["TASKS_STORE"]))


@dramatiq.actor(max_retries=2)
def work(order: dict[str, Any]) -> None:
    handle(order)


send = work.send
