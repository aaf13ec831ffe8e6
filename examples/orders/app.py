"""POST /orders: an array of orders, with a token; each order is answered for itself and kept for a day.

Every five minutes a workflow collects orders until there are results, and settles each: the accepted ones are kept in
the archive `order-results`, of the rejected ones the topic `alerts` is told.
"""

import random
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from headgate import App, Connection, Env, Jwt, Secret
from headgate import workflow as w


class Order(BaseModel):
    """One order. `parameter_2` may be written with or without a fraction, and is kept as it was written."""

    record_id: str
    parameter_1: str
    parameter_2: float


class OrderRejected(Exception):
    """An order that is not to be settled, ever: it is not tried again."""


app = App("orders")
alerts = app.topic("alerts")
app.channel(
    "/orders",
    Order,
    key="record_id",
    many=True,
    keep=timedelta(hours=24),
    auth=Jwt(secret=Secret("ORDERS_JWT_SECRET"), issuer="orders", audience="orders"),
)


@app.task
def collect(_: Any) -> dict[str, Any]:
    """Stands for the system that has the results: they are there, or not yet, by chance."""
    return {
        "results": random.choice([True, False]),  # noqa: S311 - no secret
        "orders": [{"status": "accepted", "power": 1}, {"status": "rejected", "power": 2}],
    }


@app.task
def settle(given: dict[str, Any]) -> dict[str, Any]:
    """One order; what it returns is what the archive keeps."""
    if given["order"]["status"] == "rejected":
        raise OrderRejected("Order status is rejected!")
    return {"id": given["id"], **given["order"]}


# What AWS itself may fail with when it calls a function; a task that took too long, here as there.
transient = [
    w.retry("Lambda.ServiceException", "Lambda.TooManyRequestsException", "Sandbox.Timedout", attempts=3, after_s=2)
]
tell = w.chain(
    w.give({"id": "$.id", "cause": "States.StringToJson($.error.Cause)"}, name="read the cause"),
    w.notify(alerts, "{$.cause.errorMessage} It is {$.id}.", name="tell"),
    w.succeed(name="rejected"),
)
keep = w.save("order-results", "{$.id}.json", name="keep")

app.workflow(
    "orders",
    w.chain(
        w.poll(collect, until=w.value("$.results").is_true(), every_s=2, most=100, retry=transient),
        w.for_each(
            "$.orders",
            w.chain(w.task(settle, retry=transient, catch=[w.catch("OrderRejected", then=tell)]), keep),
            # They bring no id. This one stays the same when a task is called again, so nothing is kept twice.
            input={"id": "{$$.Execution.Name}-{$$.Map.Item.Index}", "order": "$$.Map.Item.Value"},
            name="each order",
        ),
    ),
    timeout_s=300,
)
app.schedule("every-five-minutes", "rate(5 minutes)", "orders")

app.stage("dev", region="eu-west-1")
app.stage("prod", region="eu-west-1")
app.pipeline(
    Connection("acme/orders", Env("CONNECTION_ARN"), branch="main"),
    stages=["dev", "prod"],
    approve=["prod"],
    topic=alerts,
    checks=["pip install pytest", "pytest tests"],
)
