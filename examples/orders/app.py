"""POST /orders: an array of orders, with a token; each order is answered for itself and kept for a day."""

from datetime import timedelta

from pydantic import BaseModel

from headgate import App, Jwt, Secret


class Order(BaseModel):
    """One order. `parameter_2` may be written with or without a fraction, and is kept as it was written."""

    record_id: str
    parameter_1: str
    parameter_2: float


app = App("orders")
app.channel(
    "/orders",
    Order,
    key="record_id",
    many=True,
    keep=timedelta(hours=24),
    auth=Jwt(secret=Secret("ORDERS_JWT_SECRET"), issuer="orders", audience="orders"),
)
app.stage("dev", region="eu-west-1")
app.stage("prod", region="eu-west-1")
