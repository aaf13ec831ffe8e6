"""A crew: a thread and the processes (hands) that it has a handler run in.

What they are to do, and what becomes of it, is for `worker.py` (queues) and `consumer.py` (streams) to say. A hand
whose handler takes too long is killed; the group it was at has had its attempt, those behind it have not.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic

from headgate.clock import SystemClock
from headgate.declare.handler import Needs
from headgate.gate.handle import BROKE, Report
from headgate.gate.observe import site
from headgate.local.hand import Orders
from headgate.local.hands import STUCK_S, Group, Hand

log = logging.getLogger("headgate.local")
said = logging.getLogger("headgate.handlers")

PAUSE_S = 1.0
_RESTART_S = (0.2, 1.0, 5.0)


class Crew(ABC, Generic[Group]):
    """`orders` are None where there is no handler to run: then it has no hands."""

    def __init__(self, channel: str, needs: Needs, orders: Orders | None, environ: Mapping[str, str]) -> None:
        self._name = channel
        self._needs = needs
        self._orders = orders
        self._environ = environ
        self._clock = SystemClock()  # of the processes, which know no other
        self._hands: list[Hand[Group]] = []
        self._failures = 0
        self._start_at_s = 0.0
        self._drain_s = 0.0
        self._stopping = threading.Event()
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"headgate-crew-{channel}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do; from any thread."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._alarm.send(b"\0")

    def stop(self, patience_s: float) -> None:
        """Begin nothing more; what is in work gets so much time."""
        self._drain_s = patience_s
        self._stopping.set()
        self.wake()

    def join(self) -> None:
        """Wait until the last attempt is settled, or was cut off."""
        self._thread.join()

    # ------------------------------------------------------------------------------------------------- what differs

    @abstractmethod
    def _round(self) -> None:
        """Hand out what there is to do, wait until something happens, and listen."""

    @abstractmethod
    def _drain(self) -> None:
        """Hands finish the group they are at; the rest goes back."""

    @abstractmethod
    def _told(self, group: Group, reports: list[Report]) -> None:
        """A group was handled."""

    @abstractmethod
    def _failed(self, group: Group, report: Report) -> None:
        """A group was begun, and its process is gone."""

    @abstractmethod
    def _returned(self, group: Group) -> None:
        """A group was not begun."""

    @abstractmethod
    def _forget(self) -> None:
        """Let go of what is in memory: what was in work comes back by itself."""

    # ----------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._guarded(self._round)
            self._guarded(self._drain)
        finally:
            self._dismiss_all()
            self._selector.close()
            self._awake.close()
            self._alarm.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        """A mistake of ours must not stop a channel for good: hands begin anew, and what they were at comes back."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            log.critical("a crew failed and begins anew channel=%s where=%s", self._name, site(error))
            self._dismiss_all()
            self._forget()
            self._stopping.wait(PAUSE_S)

    def _dismiss_all(self) -> None:
        for hand in self._hands:  # all at a time: one that takes its time takes no more of ours than many
            hand.leave()
        for hand in list(self._hands):
            self._dismiss(hand)

    def _hands_patience_s(self) -> list[float]:
        """How long nothing may happen, as far as hands go: a number for each reason."""
        now_s = self._clock.elapsed_s()
        until = [hand.since_s + self._needs.timeout_s - now_s for hand in self._hands if hand.groups]
        until += [
            hand.since_s + STUCK_S - now_s for hand in self._hands if len(hand.groups) > 1 and not hand.is_recalled
        ]
        return until

    def _wait(self, patience_s: float | None) -> None:
        for hand in self._hands:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if hand.has_to_send else 0)
            if self._selector.get_key(hand.line).events != wanted:
                self._selector.modify(hand.line, wanted, hand)
        self._selector.select(patience_s)

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
        now_s = self._clock.elapsed_s()
        for hand in list(self._hands):
            hand.send()
            done = hand.receive(now_s)
            for line in hand.lines():
                said.info("channel=%s %s", self._name, line)
            for group, reports in done or ():
                self._failures = 0
                if reports is None:
                    self._returned(group)
                else:
                    self._told(group, reports)
            if hand.is_mute and hand.output in self._selector.get_map():
                self._selector.unregister(hand.output)
            if done is None:
                self._lose(hand)
            elif hand.groups and now_s - hand.since_s >= self._needs.timeout_s:
                self._kill(hand)
            elif len(hand.groups) > 1 and hand.is_stuck(now_s) and not hand.is_recalled:
                hand.recall()

    # ------------------------------------------------------------------------------------------------------- the hands

    def _kill(self, hand: Hand[Group]) -> None:
        detail = f"The handler did not end within {self._needs.timeout_s:g} seconds, and was stopped."
        log.warning("a handler took too long channel=%s timeout_s=%g", self._name, self._needs.timeout_s)
        took_ms = round(1000 * (self._clock.elapsed_s() - hand.since_s))
        self._dismiss(hand, Report("retry", took_ms, detail, kind="Timeout"))

    def _lose(self, hand: Hand[Group]) -> None:
        """Its process has ended, not because we said so."""
        if hand.is_spent:
            self._dismiss(hand)
            log.warning("a handler's process has no memory or files left, and begins anew channel=%s", self._name)
            return
        was_ready = hand.is_ready
        took_ms = round(1000 * (self._clock.elapsed_s() - hand.since_s))
        code = self._dismiss(hand, Report("retry", took_ms, BROKE, "Died", told="The process of the handler died."))
        log.error("a handler's process died channel=%s code=%d", self._name, code)
        if not was_ready:  # the app cannot be loaded: its own words are in the log
            self._start_at_s = self._clock.elapsed_s() + _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
            self._failures += 1

    def _dismiss(self, hand: Hand[Group], report: Report | None = None) -> int:
        """End it. The group it was at had its attempt; what waits behind did not."""
        self._hands.remove(hand)
        self._selector.unregister(hand.line)
        if hand.output in self._selector.get_map():
            self._selector.unregister(hand.output)
        for line in hand.lines():
            said.info("channel=%s %s", self._name, line)
        code = hand.end()
        if hand.groups and report is not None:
            self._failed(hand.groups.popleft(), report)
        for group in hand.groups:
            self._returned(group)
        return code

    def _staff(self, *, is_pressed: bool, most: int) -> None:
        """Start the first hand, or, where those that are there cannot keep up, another one."""
        if self._orders is None or self._clock.elapsed_s() < self._start_at_s:
            return
        if not self._hands or (is_pressed and self._may_grow(most)):
            hand: Hand[Group] = Hand.started(self._orders, self._environ)
            self._hands.append(hand)
            self._selector.register(hand.line, selectors.EVENT_READ, hand)
            self._selector.register(hand.output, selectors.EVENT_READ, hand)

    def _may_grow(self, most: int) -> bool:
        """Whether there may be another hand, and none is just starting."""
        return len(self._hands) < most and all(hand.is_ready for hand in self._hands)
