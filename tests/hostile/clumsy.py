"""An app whose own functions fail, with the message in their exception."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, field_validator

from headgate import App, Forbidden, Jwt, Problem, Public, Receipt, Reply, Request, Secret, Unauthorized


class Note(BaseModel):
    """Its validator fails on a text that it does not know."""

    id: str
    text: str

    @field_validator("text")
    @classmethod
    def known(cls, text: str) -> str:
        """Fails with KeyError."""
        return {"fine": text}[text]


def doorman(request: Request) -> str:
    """Fails, and shows the credentials in its exception."""
    raise LookupError(request.header(b"authorization"))


def fails_to_answer(receipt: Receipt) -> Reply:
    """Fails when the message is stored."""
    raise ValueError(receipt.key)


def fails_to_explain(problem: Problem) -> Reply:
    """Fails when the message is refused."""
    raise ZeroDivisionError(problem.detail)


app = App("clumsy")
app.channel("/orders", key="record_id", auth=Public(), read=True)
app.channel("/validator", Note, key="id", auth=Public(), read=True)
app.channel("/validators", Note, key="id", many=True, auth=Public(), read=True)
app.channel("/verifier", auth=doorman)
app.channel("/accepted", key="id", auth=Public(), read=True, accepted=fails_to_answer)
app.channel("/problem", Note, key="id", auth=Public(), problem=fails_to_explain)
app.channel("/jwt", auth=Jwt(secret=Secret("HOSTILE_JWT_SECRET"), issuer="hostile", audience="orders"))

# Replies that cannot be sent as they are, or that a client would take for something else.
ODD_REPLIES: dict[str, Any] = {
    "no-such-status": Reply(999),
    "interim-status": Reply(100),
    "status-of-text": Reply("200"),  # type: ignore[arg-type]
    "body-where-none-is": Reply(204, {"a": 1}),
    "body-that-is-no-json": Reply(200, {1, 2}),
    "name-beyond-latin": Reply(200, {}, (("→", "x"),)),
    "name-with-space": Reply(200, {}, (("a b", "x"),)),
    "two-lines": Reply(200, {}, (("X-Key", "a\r\nSet-Cookie: stolen=1"),)),
    "value-of-number": Reply(200, {}, (("X-Count", 1),)),  # type: ignore[arg-type]
    "second-length": Reply(200, {}, (("Content-Length", "0"),)),
    "second-framing": Reply(200, {}, (("Transfer-Encoding", "chunked"),)),
    "media-type-of-two-lines": Reply(200, {}, (), "text/html\r\n\r\n<p>"),
    "headers-of-nothing": Reply(200, {}, None),  # type: ignore[arg-type]
    "nothing": None,
}


def answers(reply: Any) -> Callable[[Any], Any]:
    """A function that answers with `reply`, whatever it is about."""
    return lambda _: reply


def refuses(refusal: Exception) -> Callable[[Request], str]:
    """A verifier that lets nobody in."""

    def refuse(_: Request) -> str:
        raise refusal

    return refuse


for name, odd in ODD_REPLIES.items():
    app.channel(f"/{name}", key="id", auth=Public(), read=True, accepted=answers(odd), problem=answers(odd))


def escapes(error: type[BaseException]) -> Callable[[Any], Any]:
    """A function that raises what would end a thread, a generator or the process, were it let through."""

    def escape(_: Any) -> Any:
        raise error

    return escape


def escapes_later(error: type[BaseException]) -> Callable[[Any], Any]:
    """The same as a coroutine."""

    async def escape(_: Any) -> Any:
        raise error

    return escape


class Leaving(BaseModel):
    """Its validator ends the process."""

    id: str

    @field_validator("id")
    @classmethod
    def leave(cls, id_: str) -> str:
        """As a function of a command line would."""
        sys.exit(3)


ESCAPES = (SystemExit, StopIteration, GeneratorExit, asyncio.CancelledError, StopAsyncIteration)
for escaping in ESCAPES:
    name = escaping.__name__
    app.channel(f"/verifier-{name}", auth=escapes(escaping))
    app.channel(f"/async-verifier-{name}", auth=escapes_later(escaping))
    app.channel(f"/accepted-{name}", key="id", auth=Public(), accepted=escapes(escaping), problem=escapes(escaping))
app.channel("/validator-SystemExit", Leaving, auth=Public())

app.channel("/refused-in-two-lines", auth=refuses(Unauthorized(headers=(("X-Why", "a\r\nSet-Cookie: b"),))))
app.channel("/refused-beyond-latin", auth=refuses(Forbidden(headers=(("→", "x"),))))
app.channel("/refused-in-bytes", auth=refuses(Forbidden(b"why")))  # type: ignore[arg-type]
