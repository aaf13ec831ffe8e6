"""What the gate asks of the outside: yielded by its generators, carried out and answered by an engine's driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from headgate.declare.channel import Channel, Throttle
from headgate.engine import ArchiveObject, Lease, Settlement
from headgate.http import Request
from headgate.message import Message


class Admit(NamedTuple):
    """Take one from the channel's token bucket. Answer: seconds to wait, 0 where it may go on."""

    channel: str
    throttle: Throttle


class Backlog(NamedTuple):
    """Answer: how many messages of the channel are waiting or in work, roughly; 0 where the queue has no bounds."""

    channel: str


class ReadBody(NamedTuple):
    """Read the request's body. Answer: its bytes, or None where it is longer than `limit_bytes`."""

    limit_bytes: int


class LookUpKey(NamedTuple):
    """Answer: the ApiKeyRow with that id, or None."""

    id: str


class LookUpJwks(NamedTuple):
    """Answer: the JWK objects published at `url`; see `Keys.jwks`."""

    url: str
    missing: bool


class Resign(NamedTuple):
    """Sign the request anew, as AWS Signature Version 4 has it, with the secret of an access key.

    `signed` names the headers that are signed, `digest` is the SHA-256 of the body in hexadecimal, `stamp` the time of
    signing. Answer: a Resigned, or None where there is no such access key, after as much work.
    """

    access_key_id: str
    request: Request
    signed: tuple[str, ...]
    digest: str
    stamp: str
    region: str
    service: str


class Resigned(NamedTuple):
    """The signature that the access key's owner would have made, and what the key is good for.

    `session_token` is empty for a lasting key; `channel` is empty where it opens every Iam channel.
    """

    signature: str
    session_token: str
    channel: str
    expired: bool


class LookUpPrincipal(NamedTuple):
    """Answer: who API Gateway says it has let in, as it stands in what it hands over beside the request, where no
    sender can write; None where it says nothing. Only the engine on AWS is asked, by a verifier of its own."""


class Call(NamedTuple):
    """Run the user's verifier off the event loop. Answer: what it returns; what it raises is thrown in."""

    verifier: Callable[[Request], str | Awaitable[str]]
    request: Request


class Commit(NamedTuple):
    """Answer: a list of Outcome; see `Index.commit`."""

    messages: list[Message]
    whole: bool


class Append(NamedTuple):
    """Answer: a list of Outcome; see `Stream.append`."""

    messages: list[Message]


class AppendOnce(NamedTuple):
    """Answer: a list of Outcome; see `DedupedStream.append_once`."""

    messages: list[Message]


class Begin(NamedTuple):
    """Answer: a list of what `Queue.begin` says of each message."""

    messages: list[Message]
    lease_ms: int


class Keep(NamedTuple):
    """Answer: a list of names, None for what could not be kept; see `Archive.put`."""

    objects: list[ArchiveObject]


class StartAll(NamedTuple):
    """Start an execution for each message that is leased, by its channel's `workflow=`; or find the one that was
    started before. Answer: a list of Started, None for what could not be started and may be tried again."""

    leases: list[Lease]


class Started(NamedTuple):
    """The execution of a message. `ended` is None while it runs, else how it ended."""

    id: str
    ended: Settlement | None = None


class Follow(NamedTuple):
    """Write the end of each execution to the row of its message, once it comes. Answer: None."""

    started: list[tuple[Lease, str]]


class SettleAll(NamedTuple):
    """Answer: a list of what `Queue.settle` says of each."""

    settled: list[tuple[Lease, Settlement]]


class Get(NamedTuple):
    """Answer: a Message or None; see `Index.get`."""

    channel: str
    scope: str
    key: str


class Find(NamedTuple):
    """Answer: a Page; see `Index.find`."""

    channel: str
    scope: str | None
    field: str | None
    value: str | None
    limit: int
    after: str | None


OfWho = Admit | Backlog | ReadBody | LookUpKey | LookUpJwks | LookUpPrincipal | Resign | Call
OfRows = Commit | Append | AppendOnce | Begin | Keep | StartAll | Follow | SettleAll | Get | Find
Effect = OfWho | OfRows


def kept(channel: Channel, messages: list[Message]) -> Effect:
    """The effect by which messages of a channel become durable."""
    if channel.stream:
        placed = [message if message.order else message._replace(order=message.key) for message in messages]
        return AppendOnce(placed) if channel.stream.dedupe else Append(placed)
    return Commit(messages, whole=channel.whole)
