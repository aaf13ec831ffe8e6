"""What fronts and the process that has the engine (the main process) say to each other, on a socket pair.

    main process                                  front
        ── starts ───────────────────────────────▶ loads the app
        ◀──────────────────── a first frame, Tally ─ it is ready
        ── connections, on the door ─────────────▶ reads requests, and runs the gate
        ◀───────────────── effects that it asks for ─ (no more than its gate cannot do itself)
        ── their answers, or that they failed ───▶ replies
        ◀──────────── Tally: what it counted since ─ with whatever else is said
        ◀─ Visit: the head of a request under /-/ ─
        ── Wanted: its body, if it is asked for ─▶
        ◀──────────────────────────── Brought: it ─
        ── Visited: the reply ───────────────────▶
        ── Beat ─────────────────────────────────▶
        ◀────────────────────── Tally: it is alive ─
        ── (end of file on the door) ────────────▶ finishes the requests in flight, ends
        ── (end of file) ────────────────────────▶ ends at once

The door is a second socket pair, since no stream of asyncio's takes descriptors. What is said within one turn of the
event loop travels in one frame: an array in MessagePack, behind its length. Types are checked as they are read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Union, cast

import msgspec

from headgate.engine import ApiKeyRow, Lease, NotYet, Outcome, Page
from headgate.gate.effects import (
    Admit,
    Append,
    AppendOnce,
    Backlog,
    Begin,
    Commit,
    Effect,
    Find,
    Follow,
    Get,
    Keep,
    LookUpJwks,
    LookUpKey,
    Resign,
    Resigned,
    SettleAll,
    StartAll,
    Started,
)
from headgate.gate.observe import Counts, site
from headgate.local.frames import Unframing, framed
from headgate.message import Message

log = logging.getLogger("headgate.local")

# The answer to each effect. Of a union, MessagePack can tell one tuple at most, hence the pairs.
_ANSWERS: Mapping[type[Effect], Any] = {
    Commit: list[Outcome] | int,  # how many, where all were stored
    Append: list[Outcome] | int,
    AppendOnce: list[Outcome] | int,
    Admit: float,
    Backlog: int,
    LookUpKey: ApiKeyRow | None,
    LookUpJwks: list[dict[str, Any]],
    Resign: Resigned | None,
    Begin: list[tuple[Lease | None, NotYet | None]],
    Keep: list[str | None],
    StartAll: list[Started | None],
    Follow: None,
    SettleAll: list[bool],
    Get: Message | None,
    Find: Page,
}
_AT_MOST_BYTES = 16 * 1024 * 1024  # of a frame, unless one saying alone is longer
_STORED = Outcome("stored")


class Saying(msgspec.Struct, array_like=True, tag_field="said", gc=False):
    """One thing that is said."""


class Tally(Saying, tag="tally"):
    """What a front counted since it last said so, how many connections have arrived and ended, and whether that is an
    answer to a Beat, too."""

    counts: Counts
    arrived: int
    ended: int
    beats: bool = False


class Beat(Saying, tag="beat"):
    """Whoever turns its event loop answers this, soon."""


class Visit(Saying, tag="visit"):
    """The head of a request for something under /-/."""

    number: int
    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None


class Wanted(Saying, tag="wanted"):
    """The body of a visit is wanted; who may not do what it asks is answered without."""

    number: int


class Brought(Saying, tag="brought"):
    """The body of a visit; None where the sender has gone, or sent too much."""

    number: int
    body: bytes | None


class Visited(Saying, tag="visited"):
    """The reply to a visit."""

    number: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Failed(Saying, tag="failed"):
    """What was asked for failed. `reason` is `unavailable`, `value` (a ValueError), or `broken`, which is logged."""

    number: int
    reason: str
    detail: str = ""
    retry_after_s: int | None = None


class Asked(Saying):
    """A front asks for an effect; there is a class of it for each."""

    number: int
    effect: Any


class Answered(Saying):
    """The answer to an effect; there is a class of it for each."""

    number: int
    answer: Any


def _for_each(base: type[Saying], field: str, types: Mapping[type[Effect], Any]) -> dict[type[Effect], Any]:
    return {
        effect: msgspec.defstruct(
            f"{base.__name__}{effect.__name__}", [("number", int), (field, type_)], bases=(base,), tag=effect.__name__
        )
        for effect, type_ in types.items()
    }


_ASKED = _for_each(Asked, "effect", {effect: effect for effect in _ANSWERS})
_ANSWERED = _for_each(Answered, "answer", _ANSWERS)

_OF_FRONT: Any = Union[*_ASKED.values(), Tally, Visit, Brought]
_OF_MAIN: Any = Union[*_ANSWERED.values(), Wanted, Visited, Failed, Beat]
heard_of_front = msgspec.msgpack.Decoder(list[_OF_FRONT]).decode
heard_of_main = msgspec.msgpack.Decoder(list[_OF_MAIN]).decode


def asked(number: int, effect: Effect) -> Asked:
    """An effect that a front asks for."""
    return cast("Asked", _ASKED[type(effect)](number, effect))


def answered(number: int, effect: type[Effect], answer: Any) -> Answered:
    """The answer to an effect."""
    if effect is Commit and answer.count(_STORED) == len(answer):
        answer = len(answer)
    elif effect is Begin:
        answer = [(one, None) if isinstance(one, Lease) else (None, one) for one in answer]
    return cast("Answered", _ANSWERED[effect](number, answer))


def answer_in(said: Answered) -> Any:
    """What the gate is to be sent."""
    answer = said.answer
    if type(answer) is int and isinstance(said, _ANSWERED[Commit]):
        return [_STORED] * answer
    if isinstance(said, _ANSWERED[Begin]):
        return [lease or not_yet for lease, not_yet in answer]
    return answer


_encoded = msgspec.msgpack.Encoder().encode


class Line(asyncio.Protocol):
    """One end. `heard` is called with each thing that the other side says, `lost` when that side is gone; `last` is
    asked, each time before something is sent, for what else there is to say."""

    def __init__(
        self,
        decode: Callable[[bytes], list[Saying]],
        heard: Callable[[Any], None],
        lost: Callable[[], None],
        last: Callable[[], Saying | None] = lambda: None,
    ) -> None:
        self._decode = decode
        self._heard = heard
        self._lost = lost
        self._last = last
        self._frames = Unframing()
        self._parts: list[bytes] = []
        self._size = 0
        self._due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: asyncio.WriteTransport | None = None

    def say(self, what: Saying) -> None:
        """Say something, soon. Raises where it cannot be said; nobody hears it where the other side is gone."""
        part = _encoded(what)
        self._parts.append(part)
        self._size += len(part)
        if self._size > _AT_MOST_BYTES:
            self._send()
        else:
            self.remind()

    def remind(self) -> None:
        """There is something that `last` will say."""
        if not self._due and self._loop is not None:
            self._due = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.WriteTransport", transport)
        self.remind()

    def data_received(self, data: bytes) -> None:
        for content in self._frames.feed(data):
            for said in self._decode(content):
                try:
                    self._heard(said)
                except Exception as error:  # noqa: BLE001 - it must not keep the others from being heard
                    log.error("an answer failed where=%s", site(error))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it makes no difference why
        self._transport = None
        self._lost()

    def _flush(self) -> None:
        self._due = False
        if (last := self._last()) is not None:
            self._parts.append(_encoded(last))
        self._send()

    def _send(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if self._transport is not None and parts:
            array = b"\xdd" + len(parts).to_bytes(4, "big")
            self._transport.write(framed(b"".join((array, *parts))))
