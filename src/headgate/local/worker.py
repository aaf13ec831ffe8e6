"""Works off the queues: one crew a channel, each with a thread and some processes (hands) that run the handler.

The crew's thread owns the leases. One durable write settles what its hands have done and claims what they do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate import limits
from headgate.engine import Lease, Settlement
from headgate.errors import Unavailable
from headgate.gate.handle import Report
from headgate.gate.work import Archived, Attempt, Effect, Handle, Promote, Settle, Steps, Work, in_groups
from headgate.local.archive import LocalArchive
from headgate.local.crew import PAUSE_S, Crew
from headgate.local.hand import Orders
from headgate.local.hands import Hand
from headgate.local.journal import Care
from headgate.local.queue import LocalQueue

# Another process comes when a message has been due for so long: to start one costs half a second of a processor, which
# handlers that are quickly done should not pay for when there is a little crowd.
_LATE_MS = 100


class QueueCrew(Crew[list[Attempt]]):
    """Works one channel off; with `scope`, the messages of that scope alone, and its first hand comes with the first of
    them."""

    def __init__(
        self,
        work: Work,
        queue: LocalQueue,
        archive: LocalArchive,
        orders: Orders | None,
        environ: Mapping[str, str],
        scope: str | None = None,
    ) -> None:
        super().__init__(work.channel.name, work.channel.needs, orders, environ)
        self._work = work
        self._queue = queue
        self._archive = archive
        self._scope = scope
        self._done: list[tuple[Promote | Settle, Steps | None]] = []

    def _round(self) -> None:
        due_ms = self._queue.idle_ms(self._work.channel.name, self._scope, self._care())
        is_due = due_ms is not None and due_ms <= 0
        if is_due or self._scope is None:
            self._staff(is_pressed=due_ms is not None and due_ms <= -_LATE_MS, most=self._needs.concurrency)
        room = self._room() if is_due else 0
        if room or self._done:
            self._turn_over(room)
        else:
            self._wait(self._patience_s(due_ms))
        self._listen()

    def _drain(self) -> None:
        """Hands finish the group they are at; what they were given beyond it goes back uncounted."""
        until_s = self._clock.elapsed_s() + self._drain_s
        for hand in self._hands:
            hand.recall()
        while any(hand.groups for hand in self._hands) and self._clock.elapsed_s() < until_s:
            self._wait(min(self._patience_s(None) or PAUSE_S, PAUSE_S))
            self._listen()
            if self._done:
                self._turn_over(0)
        for hand in self._hands:
            for group in hand.groups:
                self._returned(group)
            hand.groups.clear()
        if self._done and self._drain_s:
            self._turn_over(0)

    def _patience_s(self, due_ms: int | None) -> float | None:
        """How long nothing may happen."""
        until = self._hands_patience_s()
        is_due = due_ms is not None and due_ms <= 0
        if due_ms is not None and not is_due:
            until.append(due_ms / 1000)
        if due_ms is not None and is_due and self._may_grow(self._needs.concurrency):
            until.append(max((due_ms + _LATE_MS) / 1000, self._start_at_s - self._clock.elapsed_s()))
        if not self._hands and self._orders is not None and (is_due or self._scope is None):
            until.append(self._start_at_s - self._clock.elapsed_s())
        return max(0.0, min(until)) if until else None

    # ---------------------------------------------------------------------------------------------------- the messages

    def _room(self) -> int:
        if self._orders is None:
            return limits.PAGE.value
        now_s = self._clock.elapsed_s()
        return sum(max(0, hand.room(now_s)) for hand in self._hands) * self._needs.batch

    def _care(self) -> Care | None:
        """A message that took the whole server down with it must not take the attempts of others with it, again and
        again: what was lost goes to hands that begin it at once."""
        if self._orders is None:
            return None
        in_work = (attempt.lease for hand in self._hands for group in hand.groups for attempt in group)
        lost = [lease.message.attempts for lease in in_work if self._queue.was_lost(lease)]
        most = self._work.delivery.attempts
        idle = sum(hand.is_ready and not hand.groups for hand in self._hands)
        at_least = 0 if lost else 1  # where no hand is ever idle they have their turn too
        return Care(0 if most in lost else max(idle, at_least), most, is_alone=not lost)

    def _turn_over(self, room: int) -> None:
        done, self._done = self._done, []
        effects = [effect for effect, _ in done]
        channel, lease_ms = self._work.channel.name, self._work.lease_ms
        try:
            answers, leases = self._queue.turn_over(effects, channel, room, lease_ms, self._scope, self._care())
        except Unavailable:
            self._done = done  # the disk is full, or slow: again, until it is written
            self._wait(PAUSE_S)
            return
        for (effect, steps), answer in zip(done, answers, strict=True):
            if steps is not None:
                self._step(Attempt(effect.lease, steps), answer)
        self._hand_out(self._begun([Attempt(lease, self._steps(lease)) for lease in leases]))

    def _begun(self, attempts: list[Attempt]) -> list[Attempt]:
        """Those of which the handler is next; objects that are to be kept first are kept together, by one sync."""
        effects = [self._step(attempt, None) for attempt in attempts]
        objects = [effect.object for effect in effects if isinstance(effect, Archived)]
        names = iter(self._archive.put(objects) if objects else ())
        to_handle = []
        for attempt, effect in zip(attempts, effects, strict=True):
            after = self._step(attempt, next(names) or "") if isinstance(effect, Archived) else effect
            if isinstance(after, Handle):
                to_handle.append(attempt)
        return to_handle

    def _step(self, attempt: Attempt, answer: Any) -> Effect | None:
        """Let the gate take its next step. What is to be written down is remembered for the next write."""
        effect = next(attempt.steps, None) if answer is None else _sent(attempt.steps, answer)
        if isinstance(effect, Promote | Settle):
            self._done.append((effect, attempt.steps))
        return effect

    def _steps(self, lease: Lease) -> Steps:
        return self._work.look(lease) if self._queue.is_unread(lease) else self._work.attempt(lease)

    def _hand_out(self, attempts: list[Attempt]) -> None:
        """Even shares, so that no hand is idle while another has work ahead."""
        groups = in_groups(attempts, self._needs.batch)
        now_s = self._clock.elapsed_s()
        hands = [hand for hand in self._hands if hand.room(now_s) > 0] or self._hands
        rooms = [hand.room(now_s) for hand in hands]
        shares: list[list[list[Attempt]]] = [[] for _ in hands]
        for group in groups:
            at = max(range(len(hands)), key=lambda n: rooms[n] - len(shares[n]))
            shares[at].append(group)
        for hand, share in zip(hands, shares, strict=True):
            if share:
                _give(hand, share, now_s)

    # ------------------------------------------------------------------------------------------- what came of a group

    def _told(self, group: list[Attempt], reports: list[Report]) -> None:
        for attempt, report in zip(group, reports, strict=True):
            self._step(attempt, report)

    def _failed(self, group: list[Attempt], report: Report) -> None:
        self._told(group, [report] * len(group))

    def _returned(self, group: Sequence[Attempt]) -> None:
        for attempt in group:
            attempt.steps.close()
            self._done.append((Settle(attempt.lease, Settlement("accepted", uncounted=True)), None))

    def _forget(self) -> None:
        self._done.clear()


def _give(hand: Hand[list[Attempt]], groups: Sequence[list[Attempt]], now_s: float) -> None:
    hand.give(groups, [[attempt.lease.message for attempt in group] for group in groups], now_s)


def _sent(steps: Steps, answer: Any) -> Effect | None:
    try:
        return steps.send(answer)
    except StopIteration:
        return None
