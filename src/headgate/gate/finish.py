"""What has to follow a stored message of a `Direct` channel before its sender is answered: its object in the archive.

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
from headgate.engine import OPEN, ArchiveObject, Lease, NotYet, Outcome, Settlement
from headgate.gate.effects import Begin, Effect, Keep, SettleAll, kept
from headgate.gate.plan import Plan
from headgate.message import Message, Moment, load

LEASE_MS = 30_000
"""How long one request may be at it. The sweep lets rows be for longer than this."""


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
        match answer:
            case Lease():
                leases[at] = answer
            case NotYet():
                finished[at] = outcomes[at]._replace(kind="in_progress")
    names: list[str | None] = (
        (yield Keep([object_of(channel, lease.message) for lease in leases.values()])) if leases else []
    )
    settled = [(lease, _settlement(channel, clock, name)) for lease, name in zip(leases.values(), names, strict=True)]
    written: list[bool] = (yield SettleAll(settled)) if settled else []
    for at, name, done in zip(leases, names, written, strict=True):
        if name is None or not done:
            finished[at] = outcomes[at]._replace(kind="unavailable")
    return finished


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


def _settlement(channel: Channel, clock: Clock, name: str | None) -> Settlement:
    if name is None:
        return Settlement("accepted", uncounted=True)
    processed = Moment(clock.now_ms(), "processed")
    return Settlement("processed", (archived(name, clock), processed), keep_ms=channel.keep_ms)
