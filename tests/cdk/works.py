"""An app with everything that goes on behind the gate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from headgate import ApiKey, App, Archive, Cors, Email, Env, Iam, Public, Queued, Secret, Stream, Webhook
from headgate import workflow as w


class Order(BaseModel):
    """A message with a field to be kept in order by."""

    id: str
    customer: str


app = App("works")
app.topic("alerts", Email("ops@example.com"), Webhook(Env("HOOK_URL", "https://hook.example"), Secret("HOOK_SECRET")))
app.topic("sales", alarms=False)


@app.channel(
    "/orders", Order, key="id", auth=ApiKey(), delivery=Queued(attempts=3), archive=Archive("{customer}/{id}.json"),
    memory_mb=256, timeout_s=20, batch=2, concurrency=7,
    env={"PARTNER": Env("PARTNER_URL", "https://partner.example"), "MODE": "fast"}, secrets=[Secret("PARTNER_TOKEN")],
)  # fmt: skip
def fulfil(batch: list[Order]) -> None:
    """Works orders off."""


@app.channel("/payments", Order, key="id", auth=Public(), delivery=Queued(order_by="customer"), body_limit_bytes=1_000)
def pay(order: Order) -> None:
    """Works payments off, one after the other for each customer."""


app.channel(
    "/raw", Order, key="id", auth=Iam(), read=True, delivery=Queued(validate="worker"), archive=Archive("{id}.json"),
    keep=timedelta(days=2),
)  # fmt: skip
app.channel("/drop", auth=Public(), delivery=Queued(validate="worker"), cors=Cors(("https://shop.example",)))
app.channel("/kept", Order, key="id", auth=Public(), archive=Archive("{id}.json"))
clicks = app.channel(
    "/clicks", auth=Public(),
    delivery=Stream(shards=2, retention=timedelta(hours=36), attempts=4, most_age=timedelta(hours=2)),
)  # fmt: skip


@clicks
def count(click: Any) -> None:
    """A consumer."""


@clicks
def forward(click: Any) -> None:
    """Another one."""


visits = app.channel("/visits", Order, key="id", auth=Public(), read=True, delivery=Stream(dedupe=True))


@visits
def greet(visit: Any) -> None:
    """A consumer of what is appended once."""


@app.task
def collect(given: Any) -> Any:
    """A task of the usual size."""
    return given


@app.task(
    timeout_s=60,
    memory_mb=256,
    env={"PARTNER": Env("PARTNER_URL", "https://partner.example")},
    secrets=[Secret("PARTNER_TOKEN")],
)
def settle(order: Any) -> Any:
    """A task with needs."""
    return order


nightly = app.workflow(
    "nightly",
    w.chain(
        w.poll(collect, until=w.value("$.results").is_true(), every_s=10, most=20),
        w.for_each("$.orders", w.task(settle, catch=[w.catch(then=w.notify("alerts", "{$.error.Cause}"))])),
        w.save("results", "{$$.Execution.Name}.json"),
    ),
    timeout_s=300,
)
app.workflow("quick", w.task(collect), express=True)
app.schedule("each", "rate(5 minutes)", nightly, input={"from": "the clock"})
app.schedule("mornings", "cron(0 8 ? * MON-FRI *)", nightly, timezone="Europe/Berlin")
app.schedule("once", "at(2030-01-01T00:00:00)", "quick")
