"""A channel made ready: what every request needs of it, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic_core import SchemaValidator

from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.delivery import Direct, Queued, Stream
from headgate.declare.stores import Field
from headgate.gate.verify import ChannelVerifier, verifier_for
from headgate.message import cutter


@dataclass(frozen=True, slots=True)
class Plan:
    """`new_id` makes the keys of messages that bring none: UUIDv7, so that they are stored in order. `status` is what
    a message is stored with; `keep_ms` is how long from then on it stays, None where that is for ever, or where its end
    is set when it is done."""

    channel: Channel
    verifier: ChannelVerifier
    validator: SchemaValidator | None
    validator_of_many: SchemaValidator | None
    keep_ms: int | None
    per_principal: bool
    status: str
    order: Field | None
    clock: Clock
    new_id: Callable[[], str]


VerifierFor = Callable[[Channel, Mapping[str, str], Clock], ChannelVerifier]
"""How a channel gets its verifier: `verifier_for`, unless somebody at the door verifies already."""


def plan_for(
    channel: Channel,
    settings: Mapping[str, str],
    clock: Clock,
    new_id: Callable[[], str],
    verifier: VerifierFor = verifier_for,
) -> Plan:
    """The plan of one channel. Raises Misuse where a setting cannot be used."""
    if channel.many:
        cutter()
    return Plan(
        channel=channel,
        verifier=verifier(channel, settings, clock),
        validator=channel.validator,
        validator_of_many=channel.validator_of_many if channel.many else None,
        keep_ms=channel.keep_ms if _is_done(channel) else None,
        per_principal=channel.per_principal,
        status="processed" if _is_done(channel) else "accepted",
        order=_order(channel),
        clock=clock,
        new_id=new_id,
    )


def _is_done(channel: Channel) -> bool:
    """Whether nothing is left to do for a row once it is written."""
    return (isinstance(channel.delivery, Direct) and not channel.finishes) or channel.stream is not None


def _order(channel: Channel) -> Field | None:
    match channel.delivery:
        case Queued() as queued:
            return queued.order
        case Stream() as stream:
            return stream.partition
        case Direct():
            return None
