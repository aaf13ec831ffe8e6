"""The app that the HTTP scenarios are sent to: a channel for each thing a channel can declare.

CONFORMANCE_JWT_SECRET=... CONFORMANCE_WEBHOOK_SECRET=whsec_... headgate serve --app headgate.testing.app:app
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam, Jwt, Public, Signed
from headgate.declare.channel import Cors, Throttle
from headgate.declare.settings import Secret
from headgate.declare.stores import Header
from headgate.http import Problem, Receipt, Reply, Request

HIDDEN = "text of an exception"
"""What nobody outside may read."""

ORIGIN = "https://shop.example"


class Note(BaseModel):
    """A message with one field of most kinds."""

    id: str | int
    text: Annotated[str, Field(min_length=1, max_length=100)]
    topic: str | None = None
    amount: float | None = None
    count: int | None = None
    done: bool | None = None
    at: AwareDatetime | None = None


class Metadata(BaseModel):
    """Where the key and the index of a nested message lie."""

    message_id: str
    company_id: str


class Nested(BaseModel):
    """A message whose key is not at the top, and that takes no other fields."""

    model_config = ConfigDict(extra="forbid")

    metadata: Metadata
    data: dict[str, float]


def jwt(*scopes: str) -> Jwt:
    """Tokens of the one issuer there is."""
    return Jwt(secret=Secret("CONFORMANCE_JWT_SECRET"), issuer="conformance", audience="headgate", scopes=scopes)


def breaks(_: Request) -> str:
    """A verifier with a mistake in it."""
    raise RuntimeError(HIDDEN)


def shaped(receipt: Receipt) -> Reply:
    """A reply of one's own."""
    return Reply(202, {"taken": receipt.key, "at": receipt.received_at})


def told(problem: Problem) -> dict[str, object]:
    """A problem of one's own."""
    return {"error": problem.message}


app = App("conformance")
app.channel("/notes", Note, key="id", indexes=["topic", "count"], auth=ApiKey())
app.channel("/nested", Nested, key="metadata.message_id", indexes=["metadata.company_id"], auth=jwt("write"))
app.channel("/requests", auth=jwt())
app.channel("/each", Note, key="id", many=True, auth=jwt())
app.channel("/all", Note, key="id", many="all", auth=jwt())
app.channel("/any", auth=Public(), read=True)
app.channel("/silent", auth=Public())
app.channel("/throttled", auth=Public(), throttle=Throttle(rate_per_s=1, burst=3))
app.channel("/small", auth=Public(), body_limit_bytes=100)
app.channel("/brief", key="id", keep=timedelta(seconds=1), auth=Public(), read=True)
app.channel("/hooks", key=Header("webhook-id"), auth=Signed(Secret("CONFORMANCE_WEBHOOK_SECRET")))
app.channel("/browser", auth=Public(), cors=Cors((ORIGIN,)))
app.channel("/iam", Note, key="id", indexes=["topic"], auth=Iam())
app.channel("/broken", auth=breaks)
app.channel("/shaped", Note, key="id", auth=Public(), accepted=shaped, problem=told)
