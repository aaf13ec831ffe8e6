"""The app that is attacked: a channel of every kind."""

import re
from datetime import datetime

from pydantic import AwareDatetime, BaseModel

from headgate import ApiKey, App, Jwt, Problem, Public, Receipt, Reply, Request, Secret, Signed, Throttle, Unauthorized


class Order(BaseModel):
    """Every kind of value that was ever mistaken for another."""

    record_id: str
    amount: float
    count: int | None = None
    paid: bool | None = None
    customer: str | None = None
    note: str | None = None
    text: str | None = None
    placed_at: AwareDatetime | None = None
    local_time: datetime | None = None


class Optional(BaseModel):
    """Nothing is required, so `{}` is a good message, and no message at all is not."""

    note: str = ""


def doorman(request: Request) -> str:
    """Lets in whoever says a name."""
    name = request.header(b"x-name") or ""
    if not re.fullmatch("[a-z]{1,20}", name):
        raise Unauthorized("Say your name in X-Name.")
    return name


def stored(receipt: Receipt) -> Reply:
    """A reply of another shape."""
    return Reply(202, {"order": receipt.key})


def told(problem: Problem) -> dict[str, object]:
    """A problem of another shape."""
    return {"error": problem.message}


app = App("hostile")
app.channel("/orders", Order, key="record_id", indexes=["customer", "note"], auth=Public(), read=True)
app.channel("/each", Order, key="record_id", indexes=["customer"], many=True, auth=Public(), read=True)
app.channel("/all", Order, key="record_id", many="all", auth=Public(), read=True)
app.channel("/any", indexes=["customer"], auth=Public(), read=True)
app.channel("/any-many", many=True, auth=Public(), read=True)
app.channel("/optional", Optional, auth=Public(), read=True)
app.channel("/shaped", Order, key="record_id", auth=Public(), accepted=stored, problem=told)
app.channel(
    "/jwt", auth=Jwt(secret=Secret("HOSTILE_JWT_SECRET"), issuer="hostile", audience="orders"), indexes=["customer"]
)
app.channel("/api-key", Order, key="record_id", auth=ApiKey(), indexes=["customer"])
app.channel("/signed", Order, key="record_id", auth=Signed(Secret("HOSTILE_HOOK_SECRET"), style="github"))
app.channel("/own", Order, key="record_id", auth=doorman, scope="principal", indexes=["customer"])
app.channel("/throttled", Order, key="record_id", auth=Public(), read=True, throttle=Throttle(rate_per_s=1, burst=2))
