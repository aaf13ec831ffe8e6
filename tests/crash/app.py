"""The app that is killed: one channel, and one for batches."""

from pydantic import BaseModel

from headgate import App, Public


class Order(BaseModel):
    record_id: str
    amount: int


app = App("crash")
app.channel("/orders", Order, key="record_id", auth=Public(), read=True)
app.channel("/batches", Order, key="record_id", many=True, auth=Public(), read=True)
