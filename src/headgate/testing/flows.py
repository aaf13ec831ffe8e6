"""The app that the scenarios of workflows and schedules are sent to.

headgate serve --app headgate.testing.flows:app
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from headgate.declare import workflow as w
from headgate.declare.app import App
from headgate.declare.auth import Public
from headgate.declare.delivery import Queued
from headgate.declare.task import Start
from headgate.http import Receipt


class Parcel(BaseModel):
    """A message that says how the workflow it starts ends."""

    id: str
    amount: Annotated[int, Field(ge=0)] = 0
    fails: bool = False


class Unlucky(Exception):
    """What a workflow fails with."""


HIDDEN = "text of an exception"
"""What nobody outside may read."""


app = App("flows")
app.topic("people")
ledger = app.table("ledger", key="id")


@app.task
def settle(given: Any) -> Any:
    """Does as the parcel says, or the parcels."""
    parcels = given if isinstance(given, list) else [given]
    if any(parcel.get("fails") for parcel in parcels):
        raise Unlucky(HIDDEN)
    return {"settled": [parcel.get("id") for parcel in parcels]}


app.workflow("settling", w.task(settle))
app.workflow("swift", w.task(settle), express=True)
app.workflow("together", w.task(settle))
app.workflow(
    "keeping",
    w.chain(
        w.put(ledger, {"id": "$.id", "amount": w.number("$.amount"), "whole": w.json("$")}),
        w.update(ledger, {"id": "$.id"}, set={"state": "seen"}, add={"amount": 1}),
        w.get(ledger, {"id": "$.id"}, result="$.found"),
        w.choice(
            w.when(
                (w.value("$.found.Item.state.S") == "seen") & (w.value("$.found.Item.amount.N") == "8"),
                w.send("letters", {"id": "letter-{$.id}", "amount": 8}),
            ),
            otherwise=w.fail("Lost", "what was kept is not what was found"),
        ),
        w.get(ledger, {"id": "not {$.id}"}, result="$.found"),
        w.choice(w.when(w.value("$.found.Item").present(), w.fail("Found", "what nobody kept was found"))),
    ),
)
app.workflow("ticking", w.send("ticks", {"id": "{$.clock}-{$$.Execution.Name}", "clock": "$.clock"}))
app.schedule("each-minute", "rate(1 minute)", "ticking", input={"clock": "rate"})
app.schedule("in-berlin", "cron(* * * * ? *)", "ticking", input={"clock": "cron"}, timezone="Europe/Berlin")
app.workflow("doomed", w.fail("Doomed", "it always fails"))
app.schedule("in-the-end", "at(2199-12-31T23:59:59)", "doomed")


def started(receipt: Receipt) -> dict[str, Any]:
    """The reply names the execution."""
    return {"id": receipt.key, "execution": receipt.execution}


app.channel("/parcels", Parcel, key="id", auth=Public(), read=True, workflow="settling", accepted=started)
app.channel(
    "/swift", Parcel, key="id", auth=Public(), read=True, accepted=started,
    workflow=Start("swift", name="swift-{id}", input={"id": "{id}", "fails": False, "whole": "{body}"}),
)  # fmt: skip
app.channel(
    "/failing", Parcel, key="id", auth=Public(), read=True,
    workflow=Start("swift", name="failing-{id}", input={"id": "{id}", "fails": True}),
)  # fmt: skip
app.channel(
    "/lots", Parcel, key="id", many=True, auth=Public(), read=True, workflow=Start("together", per="batch")
)  # fmt: skip
app.channel("/kept", Parcel, key="id", auth=Public(), read=True, workflow="keeping")
for path in ("/letters", "/ticks"):
    app.channel(path, key="id", indexes=["clock"], auth=Public(), read=True, delivery=Queued(validate="worker"))
