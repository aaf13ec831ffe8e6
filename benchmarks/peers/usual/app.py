"""An ingest function as it is usually written: boto3, Powertools for idempotency, pydantic."""

import base64
import os

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, ValidationError


class Order(BaseModel):
    """The message that every peer takes."""

    model_config = ConfigDict(strict=True)

    record_id: str
    parameter_1: str
    parameter_2: float


table = boto3.resource("dynamodb").Table(os.environ["ORDERS"])
store = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY"])
config = IdempotencyConfig(event_key_jmespath="record_id", payload_validation_jmespath="@")


@idempotent_function(data_keyword_argument="order", config=config, persistence_store=store)
def keep(*, order: dict, body: str) -> dict:
    """Store an order; again, the same answer."""
    table.put_item(Item={"record_id": order["record_id"], "body": body})
    return {"id": order["record_id"]}


def handler(event: dict, context: LambdaContext) -> dict:
    """POST /single."""
    config.register_lambda_context(context)
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
    try:
        order = Order.model_validate_json(body)
    except ValidationError as error:
        return {"statusCode": 400, "headers": {"Content-Type": "application/json"}, "body": error.json()}
    kept = keep(order=order.model_dump(), body=body.decode())
    return {"statusCode": 201, "headers": {"Content-Type": "application/json"}, "body": str(kept)}
