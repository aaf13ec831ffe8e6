"""Requests that wait together share one commit: on the event loop, beside the writer's thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
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

    __slots__ = ("_begun", "_lock", "batches", "landed", "watch")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.landed: list[Landed | None] = []
        self.watch: asyncio.TimerHandle | None = None
        self._lock = threading.Lock()
        self._begun = False

    def add(self, batch: Batch, landed: Landed) -> bool:
        """Take a batch in; False where the writer has begun with this group."""
        with self._lock:
            if not self._begun:
                self.batches.append(batch)
                self.landed.append(landed)
            return not self._begun

    def begin(self) -> list[Batch]:
        """On the writer's thread: what there is; nothing will be added any more."""
        with self._lock:
            self._begun = True
        return self.batches


class Groups:
    """`LocalIndex.commit` for an event loop. No task and no future a request: whole groups are told at once.

    With `ahead` the next group waits at the writer while one is written, and takes in what arrives until the writer
    comes to it: the disk is never idle, which is what counts where this loop is. Without, it is handed over when the
    answers to the one before are out, and those who were just answered may have sent more: groups are fewer and larger,
    which is what counts where this loop has the requests to read as well.
    """

    def __init__(self, index: LocalIndex, loop: asyncio.AbstractEventLoop, *, ahead: bool = False) -> None:
        self._index = index
        self._loop = loop
        self._ahead = ahead
        self._most = 2 if ahead else 1  # groups at the writer
        self._open: _Group | None = None
        self._in_flight: deque[_Group] = deque()

    def submit(self, messages: Sequence[Message], whole: bool, landed: Landed) -> None:
        """Commit `messages`; `landed` is called on the loop with their outcomes. Nothing takes a commit back."""
        batch = Batch(messages, whole)
        if self._ahead and self._in_flight and self._in_flight[-1].add(batch, landed):
            return
        if self._open is None:
            self._open = _Group()
            if len(self._in_flight) < self._most:
                self._loop.call_soon(self._hand_over)
        self._open.add(batch, landed)

    def _hand_over(self) -> None:
        """Hand the open group to the writer. Whatever arrives until it lands, or once it is begun, makes up the next
        one."""
        group = self._open
        if group is None or len(self._in_flight) == self._most:
            return
        self._open = None
        self._in_flight.append(group)
        group.watch = self._loop.call_later(limits.TWIN_WAIT.value, self._release_twins, group)

        def landed(outcomes: list[list[Outcome]]) -> None:
            with suppress(RuntimeError):  # the loop was closed: what waited there is gone, what was written stays
                self._loop.call_soon_threadsafe(self._settle, group, outcomes)

        self._index.commit_together(group.begin, landed)

    def _settle(self, group: _Group, outcomes: list[list[Outcome]]) -> None:
        if group.watch is not None:
            group.watch.cancel()
        self._in_flight.popleft()
        for landed, result in zip(group.landed, outcomes, strict=True):
            if landed is not None:
                _tell(landed, result)
        # Not before those who were just answered may have sent more: fewer, larger groups.
        self._loop.call_soon(self._hand_over)

    def _release_twins(self, in_flight: _Group) -> None:
        """The disk is slow: whoever waits behind the same key need not wait any longer, and is told `in_progress`."""
        seen: set[tuple[str, str, str]] = set()
        for group in (*self._in_flight, *([self._open] if self._open else [])):
            for place, batch in enumerate(group.batches):
                keys = {(message.channel, message.scope, message.key) for message in batch.messages}
                if keys & seen and (landed := group.landed[place]) is not None:
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
