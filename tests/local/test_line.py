"""What fronts and the main process say to each other comes over as it was."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, get_args

import pytest

from headgate.declare.channel import Throttle
from headgate.engine import ApiKeyRow, ArchiveObject, Lease, NotYet, Outcome, Page, Place, Settlement
from headgate.gate.effects import (
    Admit,
    Append,
    AppendOnce,
    Backlog,
    Begin,
    Call,
    Commit,
    Effect,
    Find,
    Follow,
    Get,
    Keep,
    LookUpJwks,
    LookUpKey,
    LookUpPrincipal,
    ReadBody,
    Resign,
    Resigned,
    SettleAll,
    StartAll,
    Started,
)
from headgate.gate.observe import Counts
from headgate.http import Request
from headgate.local.line import (
    Asked,
    Line,
    Saying,
    Tally,
    Visit,
    answer_in,
    answered,
    asked,
    heard_of_front,
    heard_of_main,
)
from headgate.message import Message, Moment
from tests.serving import PATIENCE_S

MESSAGE = Message(
    "orders", "me", "k-\U0001f600", b'{"n":2.10,"t":"\xc3\xa9\\u0000"}', 1_790_000_000_000, "me", "r-1", "", "accepted",
    None, (("n", "2.10"),), None, "o", timeline=(Moment(1, "started", detail="arn"),),
)  # fmt: skip
LEASE = Lease(MESSAGE._replace(attempts=1, deadline_ms=5), "token", 7)
SETTLEMENT = Settlement("processed", (Moment(2, "processed"),), keep_ms=10**12)
REQUEST = Request("POST", "/a%20b", "q=%C3%A9", {b"host": b"h", b"x": b"\xff"}, "r-1", 5, "::1", [(b"host", b"h")])

SAID: list[tuple[Effect, list[Any]]] = [
    (Commit([MESSAGE, MESSAGE._replace(key="2")], whole=True), [
        [Outcome("stored")] * 2, [Outcome("stored"), Outcome("conflict", MESSAGE)], [Outcome("in_progress")] * 2, [],
    ]),
    (Append([MESSAGE]), [[Outcome("stored", place=Place("shard-1", "12345678901234567890"))]]),
    (AppendOnce([MESSAGE]), [[Outcome("replayed", MESSAGE, Place("shard-1", "1"))], [Outcome("stored")]]),
    (Admit("orders", Throttle(0.5, 3)), [0.0, 1.25, 0]),
    (Backlog("orders"), [0, 10**7]),
    (LookUpKey("id"), [ApiKeyRow("id", "orders", "me", b"\x00\xff", 1), None]),
    (LookUpJwks("https://issuer.example", missing=True), [[{"kty": "RSA", "x5c": ["a"], "n": None}], []]),
    (Resign("AK", REQUEST, ("host", "x"), "d", "s", "r", "execute-api"), [Resigned("s", "", "", expired=False), None]),
    (Begin([MESSAGE], 30_000), [[LEASE, NotYet(5), NotYet(None), None]]),
    (Keep([ArchiveObject("orders", "a/b", b"\xff", "text/plain", "m", b"")]), [["a/b", None]]),
    (StartAll([LEASE]), [[Started("arn"), Started("arn", SETTLEMENT), None]]),
    (Follow([(LEASE, "arn")]), [None]),
    (SettleAll([(LEASE, SETTLEMENT)]), [[True, False]]),
    (Get("orders", "", "k"), [MESSAGE, None]),
    (Find("orders", None, "n", "2.10", 10, None), [Page([MESSAGE], "next"), Page([], None)]),
]  # fmt: skip


def over(sayings: list[Saying], decode: Callable[[bytes], list[Any]]) -> list[Any]:
    """What is heard at the other end of a line, whatever pieces it comes in."""

    async def talk() -> list[Any]:
        loop = asyncio.get_running_loop()
        heard: list[Any] = []
        gone = asyncio.Event()
        ours, theirs = socket.socketpair()
        speaks = Line(heard_of_main, heard.append, lambda: None)
        listens = Line(decode, heard.append, gone.set)
        await loop.create_connection(lambda: speaks, sock=ours)
        await loop.create_connection(lambda: listens, sock=theirs)
        for saying in sayings:
            speaks.say(saying)
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) < len(sayings):
                await asyncio.sleep(0.001)
            speaks.close()
            await gone.wait()
        return heard

    return asyncio.run(talk())


@pytest.mark.parametrize(("effect", "answers"), SAID, ids=lambda one: type(one).__name__)
def test_effects_and_their_answers_come_over_as_they_were(effect: Effect, answers: list[Any]) -> None:
    (there,) = over([asked(7, effect)], heard_of_front)
    assert isinstance(there, Asked)
    assert (there.number, there.effect) == (7, effect)
    assert type(there.effect) is type(effect)
    back = over([answered(at, type(effect), answer) for at, answer in enumerate(answers)], heard_of_main)
    assert [said.number for said in back] == [*range(len(answers))]
    assert [answer_in(said) for said in back] == answers


def test_every_effect_that_the_engine_has_to_carry_out_can_be_asked_for() -> None:
    here = {ReadBody, Call}  # a front carries these out itself
    asked_of_the_gateway = {LookUpPrincipal}
    alike = {kind for union in get_args(Effect) for kind in (get_args(union) or (union,))}
    assert {type(effect) for effect, _ in SAID} == alike - here - asked_of_the_gateway


def test_megabytes_come_over_whole_and_in_order() -> None:
    sayings: list[Saying] = [
        asked(at, Commit([MESSAGE._replace(body=bytes([at]) * 3_000_000)], whole=False)) for at in range(7)
    ]
    heard = over(sayings, heard_of_front)
    assert [said.effect.messages[0].body for said in heard] == [bytes([at]) * 3_000_000 for at in range(7)]


def test_what_is_said_in_one_turn_goes_in_one_frame_with_what_there_is_to_say_besides() -> None:
    async def talk() -> list[list[Any]]:
        loop = asyncio.get_running_loop()
        frames: list[list[Any]] = []
        due: list[Saying] = []

        def decode(content: bytes) -> list[Any]:
            frames.append(heard_of_front(content))
            return frames[-1]

        ours, theirs = socket.socketpair()
        speaks = Line(heard_of_main, lambda _: None, lambda: None, lambda: due.pop() if due else None)
        await loop.create_connection(lambda: speaks, sock=ours)
        await loop.create_connection(lambda: Line(decode, lambda _: None, lambda: None), sock=theirs)
        due.append(Tally(Counts([(("orders", "stored"), 3)]), 1, 2))
        speaks.say(asked(1, Backlog("orders")))
        speaks.say(Visit(2, "GET", "/-/ready", b"/-/ready", b"", [(b"host", b"h")], ("127.0.0.1", 9)))
        async with asyncio.timeout(PATIENCE_S):
            while not frames:
                await asyncio.sleep(0.001)
        speaks.close()
        return frames

    ((first, second, last),) = asyncio.run(talk())
    assert (first.effect, second.path, last.ended) == (Backlog("orders"), "/-/ready", 2)
    assert last.counts.accepted == [(("orders", "stored"), 3)]


def test_one_that_cannot_be_told_does_not_keep_the_others_from_it() -> None:
    """And what cannot be said at all fails where it is said."""

    async def talk() -> list[int]:
        loop = asyncio.get_running_loop()
        told: list[int] = []

        def hear(said: Any) -> None:
            told.append(said.number)
            if said.number == 1:
                raise ValueError

        ours, theirs = socket.socketpair()
        speaks = Line(heard_of_main, lambda _: None, lambda: None)
        await loop.create_connection(lambda: speaks, sock=ours)
        await loop.create_connection(lambda: Line(heard_of_front, hear, lambda: None), sock=theirs)
        speaks.say(asked(1, Backlog("orders")))
        with pytest.raises(UnicodeEncodeError):
            speaks.say(asked(2, Backlog("\ud800")))
        speaks.say(asked(3, Backlog("orders")))
        async with asyncio.timeout(PATIENCE_S):
            while len(told) < 2:
                await asyncio.sleep(0.001)
        speaks.close()
        return told

    assert asyncio.run(talk()) == [1, 3]
