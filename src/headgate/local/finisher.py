"""Goes on with messages of Direct channels that are stored and not finished: whoever was at it has died, or failed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from headgate import limits
from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.engine import Outcome
from headgate.errors import Unavailable
from headgate.gate.effects import Begin, Effect, Follow, Get, Keep, SettleAll, StartAll
from headgate.gate.finish import LEASE_MS, finish
from headgate.gate.observe import site
from headgate.local.engine import LocalEngine
from headgate.message import Message

log = logging.getLogger("headgate.local")

_EVERY_S = 30.0
_PAGE = 100


class Finisher:
    """A thread of its own, once `start` was called; `sweep` is what it does now and then."""

    def __init__(self, channels: Sequence[Channel], engine: LocalEngine, clock: Clock) -> None:
        self._channels = [channel for channel in channels if channel.finishes]
        self._engine = engine
        self._clock = clock
        self._since_ms = clock.now_ms()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-finisher", daemon=True)

    def start(self) -> None:
        """Sweep from now on, until `close`."""
        if self._channels:
            self._thread.start()

    def close(self) -> None:
        """Stop, after what is being done."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> int:
        """Finish what no request is at any more, and nobody has a lease on; how many messages that were."""
        return sum(self._finish(channel) for channel in self._channels)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._closing.wait(wait_s):
            wait_s = _EVERY_S
            try:
                while self.sweep() and not self._closing.is_set():
                    pass
            except Unavailable:
                log.warning("messages could not be finished; the next sweep tries again")
            except Exception as error:  # noqa: BLE001 - the thread must live
                log.error("a sweep failed where=%s", site(error))

    def _finish(self, channel: Channel) -> int:
        """What came before this process, or longer ago than a request may take: a request is at anything newer."""
        until_ms = max(self._since_ms, self._clock.now_ms() - LEASE_MS)
        together = channel.start is not None and channel.start.per_batch
        most = limits.BATCH_EACH.value if together else _PAGE
        keys = self._engine.queue.overdue(channel.name, 0, most)
        rows = [self._engine.index.get(channel.name, scope, key) for scope, key in keys]
        messages = [row for row in rows if row is not None and row.received_ms < until_ms]
        done = self._driven(channel, messages)
        return sum(outcome.kind == "stored" for outcome in done)

    def _driven(self, channel: Channel, messages: list[Message]) -> list[Outcome]:
        steps = finish(channel, self._clock, messages, [Outcome("stored")] * len(messages))
        answer: Any = None
        try:
            while True:
                answer = self._carried_out(steps.send(answer))
        except StopIteration as stop:
            finished: list[Outcome] = stop.value
            return finished

    def _carried_out(self, effect: Effect) -> Any:
        match effect:
            case Begin(messages, lease_ms):
                return self._engine.queue.begin_all(messages, lease_ms)
            case Keep(objects):
                return self._engine.archive.put(objects)
            case StartAll(leases):
                return self._engine.start_all(leases)
            case Follow(started):
                return self._engine.follow(started)
            case Get(channel, scope, key):
                return self._engine.index.get(channel, scope, key)
            case SettleAll(settled):
                return self._engine.queue.settle_all(settled)
        raise TypeError(f"{effect!r} is not of finishing")
