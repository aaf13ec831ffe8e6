"""Nothing but a put_item of boto3: no validation, no comparison, no answer worth the name."""

import base64
import json
import os

import boto3

client = boto3.client("dynamodb")


def handler(event: dict, _: object) -> dict:
    """POST /single."""
    body = base64.b64decode(event["body"])
    item = {"record_id": {"S": json.loads(body)["record_id"]}, "body": {"S": body.decode()}}
    client.put_item(TableName=os.environ["ORDERS"], Item=item)
    return {"statusCode": 201, "body": "{}"}
