"""What has to follow a stored message of a `Direct` channel before its sender is answered: its object in the archive,
the start of its workflow (whose end is the end of the message, later).

stored ──▶ Begin ──▶ a lease ──▶ Keep ──▶ kept ──────▶ SettleAll: processed ──▶ 2xx
                 │                    └─▶ not kept ──▶ SettleAll: accepted, due again ──▶ 503
                 ├─▶ nothing to do: it was finished meanwhile ──▶ 2xx
                 └─▶ somebody else is at it ──▶ 409 in_progress

The row alone says how far it is: whoever sends it again, or the sweep, goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from typing import Any

from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.stores import Named
from headgate.engine import OPEN, ArchiveObject, Execution, Lease, NotYet, Outcome, Settlement, lengthened
from headgate.gate.effects import Begin, Effect, Follow, Get, Keep, SettleAll, StartAll, Started, kept
from headgate.gate.plan import Plan
from headgate.message import STARTED, Message, Moment, load

LEASE_MS = 30_000
"""How long one request may be at it. The sweep lets rows be for longer than this."""
FOLLOWED_MS = 3_600_000
"""So long an execution is left to itself; then the sweep looks whether its end was missed."""


def stored(plan: Plan, messages: list[Message]) -> Generator[Effect, Any, list[Outcome]]:
    """What became of messages, once everything is done that a sender is not answered before."""
    outcomes: list[Outcome] = yield kept(plan.channel, messages)
    if not plan.channel.finishes:
        return outcomes
    return (yield from finish(plan.channel, plan.clock, messages, outcomes))


def finish(
    channel: Channel, clock: Clock, messages: Sequence[Message], outcomes: Sequence[Outcome]
) -> Generator[Effect, Any, list[Outcome]]:
    """Do what is left to do for messages that were stored or replayed; the outcomes as they are then."""
    waiting = [at for at, outcome in enumerate(outcomes) if _is_open(outcome)]
    if not waiting:
        return list(outcomes)
    begun: list[Lease | NotYet | None] = yield Begin([messages[at] for at in waiting], LEASE_MS)
    finished = list(outcomes)
    leases: dict[int, Lease] = {}
    for at, answer in zip(waiting, begun, strict=True):
        if isinstance(answer, Lease):
            leases[at] = answer
        elif channel.start is not None:
            finished[at] = yield from _under_way(messages[at], outcomes[at], answer)
        elif isinstance(answer, NotYet):
            finished[at] = outcomes[at]._replace(kind="in_progress")
    settled = (yield from _done(channel, clock, [*leases.values()])) if leases else []
    written: list[bool] = (yield SettleAll(settled)) if settled else []
    following = [
        (lease, _execution_of(_with(lease.message, settlement.moments)))
        for (lease, settlement), done in zip(settled, written, strict=True)
        if done and settlement.status == "processing"
    ]
    if following:
        yield Follow(following)
    for at, (lease, settlement), done in zip(leases, settled, written, strict=True):
        if not done and channel.start is not None:  # its execution has told of itself before we did
            now = yield from _under_way(messages[at], outcomes[at], None)
            finished[at] = now._replace(kind="unavailable") if now.kind == "in_progress" else now
        elif settlement.status == "accepted" or not done:
            finished[at] = outcomes[at]._replace(kind="unavailable")
        elif channel.start is not None:
            finished[at] = outcomes[at]._replace(message=_with(lease.message, settlement.moments))
    return finished


def _done(
    channel: Channel, clock: Clock, leases: list[Lease]
) -> Generator[Effect, Any, list[tuple[Lease, Settlement]]]:
    """Keep the objects, start the executions; and how far that got each message."""
    names: list[str | None] = [None] * len(leases)
    moments: list[tuple[Moment, ...]] = [()] * len(leases)
    if channel.archive is not None:
        names = yield Keep([object_of(channel, lease.message) for lease in leases])
        moments = [() if name is None else (archived(name, clock),) for name in names]
    ready = [at for at, name in enumerate(names) if name is not None or channel.archive is None]
    started: dict[int, Started | None] = {}
    if channel.start is not None and ready:
        answers: list[Started | None] = yield StartAll([leases[at] for at in ready])
        started = dict(zip(ready, answers, strict=True))
    return [
        (lease, _settlement(channel, clock, lease.message, moments[at], at in ready, started.get(at)))
        for at, lease in enumerate(leases)
    ]


def _under_way(message: Message, outcome: Outcome, begun: NotYet | None) -> Generator[Effect, Any, Outcome]:
    """The outcome of one whose execution runs or is over; or is being started by somebody else."""
    row: Message | None = yield Get(message.channel, message.scope, message.key)
    is_open = begun is not None or (row is not None and row.status in OPEN)
    if row is None or (is_open and not any(moment.what == STARTED for moment in row.timeline)):
        return outcome._replace(kind="in_progress")
    return outcome._replace(message=row)


def _with(message: Message, moments: tuple[Moment, ...]) -> Message:
    return message._replace(timeline=lengthened(message.timeline, moments))


def object_of(channel: Channel, message: Message) -> ArchiveObject:
    """What is kept of a message in its channel's archive."""
    if channel.archive is None:
        raise ValueError(f"channel {channel.name} has no archive")
    name = channel.archive.name(Named(message.key, message.principal, load(message.body).tree))
    mark = hashlib.sha256(f"{message.scope}\n{message.key}".encode()).hexdigest()[:16]
    return ArchiveObject(channel.name, name, message.body, channel.archive.content_type, mark, message.original)


def archived(name: str, clock: Clock) -> Moment:
    """The moment of a timeline in which a message's object was kept."""
    return Moment(clock.now_ms(), "archived", detail=name)


def _is_open(outcome: Outcome) -> bool:
    match outcome:
        case Outcome("stored"):
            return True
        case Outcome("replayed", Message() as first):
            return first.status in OPEN
    return False


def _settlement(
    channel: Channel, clock: Clock, message: Message, moments: tuple[Moment, ...], ready: bool, started: Started | None
) -> Settlement:
    if not ready or (channel.start is not None and started is None):
        return Settlement("accepted", uncounted=True)
    if started is None:
        return Settlement("processed", (*moments, Moment(clock.now_ms(), "processed")), keep_ms=channel.keep_ms)
    if _execution_of(message) == started.id:  # it was looked whether its end was missed; all this is told already
        moments = ()
    else:  # one that is over was found so before now: it did not start after its end
        at_ms = clock.now_ms() if started.ended is None else started.ended.moments[0].at_ms
        moments = (*moments, Moment(at_ms, STARTED, detail=started.id))
    if started.ended is None:
        return Settlement("processing", moments, delay_ms=FOLLOWED_MS)
    return started.ended._replace(moments=(*moments, *started.ended.moments))


def _execution_of(message: Message) -> str:
    """The execution that a message has started, since a person put it back last; empty where none."""
    for moment in reversed(message.timeline):
        if moment.what in (STARTED, "redriven"):
            return moment.detail if moment.what == STARTED else ""
    return ""


def ended(channel: Channel, execution: Execution, now_ms: int) -> Settlement:
    """How a message ends whose execution ended so."""
    if execution.status == "SUCCEEDED":
        return Settlement("processed", (Moment(now_ms, "processed"),), keep_ms=channel.keep_ms)
    told = f"The workflow {execution.workflow} ended as {execution.status}"
    detail = f"{told}: {execution.error}." if execution.error else f"{told}."
    failed = Moment(
        now_ms, "failed", detail=detail, kind=execution.error or execution.status, told=execution.cause or ""
    )
    return Settlement("failed", (failed,), error=detail, keep_ms=channel.keep_dead_ms)
