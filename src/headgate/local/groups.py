"""Requests that wait together share one commit: on the event loop, beside the writer's thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from headgate import limits
from headgate.engine import Outcome
from headgate.gate.observe import site
from headgate.local.index import Batch, LocalIndex
from headgate.message import Message

Landed = Callable[[list[Outcome]], None]

log = logging.getLogger("headgate.local")


class _Group:
    """Batches of one commit, and who is told. A place becomes None once it was told early."""

    __slots__ = ("batches", "landed", "watch")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.landed: list[Landed | None] = []
        self.watch: asyncio.TimerHandle | None = None


class Groups:
    """`LocalIndex.commit` for an event loop. No task and no future a request: whole groups are told at once."""

    def __init__(self, index: LocalIndex, loop: asyncio.AbstractEventLoop) -> None:
        self._index = index
        self._loop = loop
        self._open: _Group | None = None
        self._in_flight: _Group | None = None

    def submit(self, messages: Sequence[Message], whole: bool, landed: Landed) -> None:
        """Commit `messages`; `landed` is called on the loop with their outcomes. Nothing takes a commit back."""
        if self._open is None:
            self._open = _Group()
            if self._in_flight is None:
                self._loop.call_soon(self._hand_over)
        self._open.batches.append(Batch(messages, whole))
        self._open.landed.append(landed)

    def _hand_over(self) -> None:
        """Hand the open group to the writer. Whatever arrives until it lands makes up the next one."""
        group = self._open
        if group is None or self._in_flight is not None:
            return
        self._open, self._in_flight = None, group
        group.watch = self._loop.call_later(limits.TWIN_WAIT.value, self._release_twins, group)

        def landed(outcomes: list[list[Outcome]]) -> None:
            with suppress(RuntimeError):  # the loop was closed: what waited there is gone, what was written stays
                self._loop.call_soon_threadsafe(self._settle, group, outcomes)

        self._index.commit_together(group.batches, landed)

    def _settle(self, group: _Group, outcomes: list[list[Outcome]]) -> None:
        if group.watch is not None:
            group.watch.cancel()
        self._in_flight = None
        for landed, result in zip(group.landed, outcomes, strict=True):
            if landed is not None:
                _tell(landed, result)
        # Not before those who were just answered may have sent more: fewer, larger groups.
        self._loop.call_soon(self._hand_over)

    def _release_twins(self, in_flight: _Group) -> None:
        """The disk is slow: whoever waits behind the same key need not wait any longer, and is told `in_progress`."""
        seen: set[tuple[str, str, str]] = set()
        for group in (in_flight, self._open):
            for place, batch in enumerate(group.batches if group else ()):
                keys = {(message.channel, message.scope, message.key) for message in batch.messages}
                if group and keys & seen and (landed := group.landed[place]) is not None:
                    group.landed[place] = None
                    _tell(landed, [Outcome("in_progress")] * len(batch.messages))
                seen |= keys
        in_flight.watch = self._loop.call_later(limits.TWIN_WAIT.value, self._release_twins, in_flight)


def _tell(landed: Landed, outcomes: list[Outcome]) -> None:
    """One that fails must keep neither its group nor the groups behind it from being told."""
    try:
        landed(outcomes)
    except Exception as error:  # noqa: BLE001
        log.error("an answer failed where=%s", site(error))
