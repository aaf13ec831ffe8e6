"""Everybody who works behind the gate: crews for queues, consumers for streams."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headgate import limits
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.handler import Handler
from headgate.declare.settings import Secret
from headgate.gate.answer import Gate
from headgate.gate.consume import Consuming
from headgate.gate.redrive import worked_scopes
from headgate.gate.work import Work
from headgate.local.consumer import Consumer
from headgate.local.crew import Crew
from headgate.local.engine import LocalEngine
from headgate.local.hand import Orders
from headgate.local.worker import QueueCrew

log = logging.getLogger("headgate.local")

_STRANDED = (
    "nobody works off messages that wait: their channel or consumer was renamed, removed or made another kind; they are"
    " kept, and go on when it is declared again channel=%s count=%d"
)


class Workers:
    """A crew for each queue of an app, and two for each consumer of a stream: one for the records, and one for dead
    letters of it that were redriven. `target` is where hands load the app from."""

    def __init__(
        self, app: App, target: str, engine: LocalEngine, gate: Gate, settings: Mapping[str, str], clock: Clock
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._clock = clock
        self._of_queues: dict[str, list[Crew[Any]]] = {}
        self._of_streams: dict[str, list[Crew[Any]]] = {}
        for channel in app.channels:
            environ = _environ(app, channel, settings)
            if channel.queue is not None:
                orders = _orders(target, channel, channel.handler)
                work = Work(gate.plan_of(channel), channel.queue, clock, gate.observer)
                self._of_queues[channel.name] = [QueueCrew(work, engine.queue, engine.archive, orders, environ)]
            if channel.stream is not None:
                self._of_queues[channel.name] = list(self._redriven(channel, target, environ))
                self._of_streams[channel.name] = list(self._consumers(channel, target, environ))
        engine.queue.when_more(lambda channels: self._wake(self._of_queues, channels))
        engine.stream.when_more(lambda channels: self._wake(self._of_streams, channels))
        for crew in self._crews():
            crew.start()
        worked = {channel.name: worked_scopes(channel) for channel in app.channels}
        for name, count in engine.queue.stranded(worked).items():
            log.warning(_STRANDED, name, count)

    def _consumers(self, channel: Channel, target: str, environ: Mapping[str, str]) -> Iterator[Consumer]:
        for handler in channel.handlers:
            consuming = Consuming(channel, handler.name, self._clock, self._gate.observer)
            yield Consumer(consuming, self._engine.stream, _orders(target, channel, handler), environ)

    def _redriven(self, channel: Channel, target: str, environ: Mapping[str, str]) -> Iterator[QueueCrew]:
        if channel.stream is None:
            return
        work = Work(self._gate.plan_of(channel), channel.stream, self._clock, self._gate.observer)
        for handler in channel.handlers:
            orders = _orders(target, channel, handler)
            yield QueueCrew(work, self._engine.queue, self._engine.archive, orders, environ, handler.name)

    def _crews(self) -> Iterator[Crew[Any]]:
        for crews in (*self._of_queues.values(), *self._of_streams.values()):
            yield from crews

    def _wake(self, crews: Mapping[str, Sequence[Crew[Any]]], channels: Sequence[str]) -> None:
        for channel in channels:
            for crew in crews.get(channel, ()):
                crew.wake()

    def stop(self, patience_s: float = limits.DRAIN.value) -> None:
        """Finish what is in work, and nothing else. Without patience what is in work is begun again some day."""
        self._engine.queue.when_more(lambda _: None)
        self._engine.stream.when_more(lambda _: None)
        for crew in self._crews():
            crew.stop(patience_s)
        for crew in self._crews():
            crew.join()


def _orders(target: str, channel: Channel, handler: Handler | None) -> Orders | None:
    return None if handler is None else Orders(target, channel.name, handler.name, -1, channel.needs.memory_mb)


def _environ(app: App, channel: Channel, settings: Mapping[str, str]) -> dict[str, str]:
    """What a handler finds in its environment: what the channel declares, and none of the app's other secrets."""
    hidden = {setting.name for _, setting in app.settings() if isinstance(setting, Secret)}
    shown = {name: value for name, value in os.environ.items() if name not in hidden}
    for name, value in channel.needs.env.items():
        shown[name] = value if isinstance(value, str) else settings.get(value.name, "")
    shown |= {secret.name: settings.get(secret.name, "") for secret in channel.needs.secrets}
    return {**shown, "PYTHONUNBUFFERED": "1"}
