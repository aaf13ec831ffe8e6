"""Runs a handler in this very process, for as long as it may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.handler import Handler
from headgate.gate.handle import Handling, Report
from headgate.message import Message

_AGAIN_S = 1.0  # where a handler has caught what was to stop it
_CLOSING_S = 1.0


class TookTooLong(BaseException):
    """Raised in the middle of a handler whose time is up; no `except Exception` of its holds it up."""


class Hand:
    """A handler of a channel. What does not heed a signal is ended by Lambda, with the whole function; the attempt was
    counted before it began."""

    def __init__(self, channel: Channel, handler: Handler, clock: Clock) -> None:
        self._channel = channel
        self._handler = handler
        self._clock = clock
        self._handling = Handling(channel, handler, clock)

    def handle(self, messages: Sequence[Message]) -> list[Report]:
        """One attempt at each; see `Handling.handle`."""
        timeout_s = self._channel.needs.timeout_s
        began_s = self._clock.elapsed_s()
        reports: list[Report] = []
        with _alarm(timeout_s) as rung:
            reports = self._handling.handle(messages)
        if not rung:
            return reports
        took_ms = round(1000 * (self._clock.elapsed_s() - began_s))
        self._renew()
        detail = f"The handler did not end within {timeout_s:g} seconds, and was stopped."
        return [Report("retry", took_ms, detail, kind="Timeout")] * len(messages)

    def _renew(self) -> None:
        """What was stopped in the middle is not called again."""
        with _alarm(_CLOSING_S), suppress(Exception):
            self._handling.close()
        self._handling = Handling(self._channel, self._handler, self._clock)


@contextmanager
def _alarm(after_s: float) -> Iterator[list[bool]]:
    """TookTooLong inside, after so many seconds, and where it was caught there, again. The list is empty unless that
    happened."""
    rung: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield rung  # signals do not get here; Lambda's own time limit does
        return

    def ring(_: int, __: FrameType | None) -> None:
        rung.append(True)
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, after_s, _AGAIN_S)
    try:
        with suppress(TookTooLong):
            yield rung
    finally:
        with suppress(TookTooLong):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
