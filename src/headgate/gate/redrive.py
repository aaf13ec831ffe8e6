"""Dead letters: what they have in common, and whether one would pass now, as it is or with another body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headgate.clock import SystemClock
from headgate.declare.channel import Channel
from headgate.declare.stores import Field
from headgate.engine import Edited
from headgate.errors import FieldFault, Forbidden, Invalid, Refusal
from headgate.gate.credentials import ChannelVerifier, Verification
from headgate.gate.judge import Envelope, judge, key_header
from headgate.gate.plan import plan_for
from headgate.http import Request
from headgate.message import Message, Moment, load


class Group(NamedTuple):
    """Dead letters of one channel that failed in the same way at the same place. `sample` is the newest of them."""

    channel: str
    kind: str
    pointer: str
    letters: int
    first_ms: int
    last_ms: int
    sample: Message


class NobodyVerifier(ChannelVerifier):
    """Nobody sends here: what is judged was let in long ago."""

    needs_body = False

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - the verifiers' signature
        """Lets nobody in."""
        yield from ()
        raise Forbidden


def end_of(message: Message) -> Moment:
    """How a dead letter came to be one."""
    ends = [moment for moment in message.timeline if moment.what in ("failed", "rejected")]
    return ends[-1] if ends else Moment(message.received_ms, message.status)


def grouped(messages: Iterable[Message]) -> list[Group]:
    """The groups of dead letters, the largest first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for message in messages:
        end = end_of(message)
        key = (message.channel, end.kind, end.pointer)
        group = groups.get(key, Group(*key, 0, end.at_ms, end.at_ms, message))
        groups[key] = group._replace(
            letters=group.letters + 1,
            first_ms=min(group.first_ms, end.at_ms),
            last_ms=max(group.last_ms, end.at_ms),
            sample=max(group.sample, message, key=lambda one: one.received_ms),
        )
    return sorted(groups.values(), key=lambda group: -group.letters)


def judged(channel: Channel, message: Message, body: bytes | None = None) -> Message:
    """A dead letter as the gate would take it today, with another `body` if one is given. Raises what senders are
    refused with; and Invalid where it would get another key than it has, unless it never had one of its own."""
    plan = plan_for(channel, {}, SystemClock(), lambda: message.key, lambda *_: NobodyVerifier())
    headers: dict[bytes, bytes] = {}
    if not isinstance(channel.key, Field):
        headers[key_header(channel).lower().encode()] = message.key.encode()
    request = Request("POST", channel.path, "", headers, message.request_id, message.received_ms)
    found = judge(plan, Envelope.of(plan, request, message.principal), load(message.body if body is None else body))
    if found.key != message.key and not has_no_key(channel, message):
        at = channel.key.pointer if isinstance(channel.key, Field) else ""
        fault = FieldFault(at, f"The key has to stay {message.key}", "key")
        raise Invalid("This would be another message.", faults=(fault,))
    return found


def has_no_key(channel: Channel, message: Message) -> bool:
    """Whether a dead letter was let in unread, and stands under the id that its sender was told."""
    return channel.unread and message.key == message.request_id


def worked_scopes(channel: Channel) -> Sequence[str] | None:
    """In which scopes messages of a channel are worked off; None for all."""
    if channel.stream is not None:
        return [handler.name for handler in channel.handlers]
    return None if channel.queue is not None or channel.finishes else ()


def unworked(channel: Channel, message: Message) -> str | None:
    """Why nobody would work a dead letter off that is put back, as when its consumer is gone; None where somebody
    would."""
    scopes = worked_scopes(channel)
    if scopes is None or message.scope in scopes:
        return None
    if channel.stream is not None and message.scope:
        return f"the app has no consumer {message.scope} of {channel.path} any more"
    return f"nothing works off messages of {channel.path} any more"


def why_not(channel: Channel, message: Message) -> str | None:
    """Why a dead letter would not pass the gate today, or would wait for nobody behind it; None where it would."""
    if (gone := unworked(channel, message)) is not None:
        return gone
    try:
        judged(channel, message)
    except Refusal as error:
        first = error.faults[0] if error.faults else None
        return error.detail if first is None else f"{first.pointer or 'the body'}: {first.detail}"
    except Exception as error:  # noqa: BLE001 - a validator of the user's
        return f"the model broke: {type(error).__name__}"
    return None


def edited(channel: Channel, message: Message, body: bytes, moment: Moment) -> Edited:
    """The alteration that gives a dead letter another body. Raises as `judged` does."""
    found = judged(channel, message, body)
    return Edited(moment, found.body, found.fields, found.order)
