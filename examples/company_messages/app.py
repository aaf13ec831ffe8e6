"""POST /messages: orders of companies into a queue, unread; looked at behind it, kept as objects, found by company."""

from datetime import datetime

from pydantic import BaseModel, Field

from headgate import App, Archive, Message, Permanent, Public, Queued


class Metadata(BaseModel):
    """Whose message it is, and when it was written."""

    message_time: datetime = Field(examples=["2026-11-21T09:00:00Z"])
    company_id: str = Field(min_length=1, max_length=64, examples=["C-7", "C-8", "C-9"])
    message_id: str = Field(min_length=1, max_length=64)


class Order(BaseModel):
    """What was ordered."""

    order_id: str = Field(min_length=1, max_length=64)
    order_time: datetime = Field(examples=["2026-11-21T08:59:30Z"])
    order_amount: float = Field(ge=0)


class CompanyMessage(BaseModel):
    """What is posted."""

    metadata: Metadata
    data: Order


MOST = 1_000_000

app = App("company-messages")
for name in ("dev", "prod"):
    app.stage(
        name,
        tags={"environment": name, "project": "company-messages"},
        outputs={
            "SqsQueueName": "MessagesQueueName",
            "SqsEndpoint": "MessagesQueueUrl",
            "S3BucketURL": "MessagesArchiveUrl",
        },
    )
app.topic("alerts")  # where alarms are told: dead letters, failed attempts, waiting messages


@app.channel(
    "/messages",
    CompanyMessage,
    key="metadata.message_id",
    indexes=["metadata.company_id"],
    archive=Archive("{metadata.company_id}/{metadata.message_id}.json"),
    delivery=Queued(attempts=3, validate="worker"),  # two redeliveries
    auth=Public(),
    read=True,
)
def process(order: CompanyMessage, message: Message) -> None:
    """Runs when the message is valid, in the table, and its object is written."""
    if order.data.order_amount > MOST:
        raise Permanent("An order of more than 1,000,000: a person has to look at it.")
    print(
        f"message {message.id} of {order.metadata.company_id}: order {order.data.order_id}, attempt {message.attempt}"
    )
