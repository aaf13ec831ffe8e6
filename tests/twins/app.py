"""The app whose messages come twice."""

from pydantic import BaseModel

from headgate import App, Public


class Order(BaseModel):
    record_id: str
    round: str
    amount: int = 0


app = App("twins")
app.channel("/orders", Order, key="record_id", indexes=["round"], auth=Public(), read=True)
