"""Tables, buckets and secrets as the stacks make them, made with a client of the SDK, for tests of single rooms."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from headgate.aws.layout import API_KEYS, EXPIRES_AT, Attribute, Layout
from headgate.aws.pages import Table
from tests.aws.emulator.process import Emulator


def make_table(dynamodb: Any, layout: Layout) -> Table:
    """A table of its own for a channel."""
    name = f"{layout.channel}-{uuid4().hex}"
    indexes = [(index.name, [index.partition, index.sort]) for index in layout.indexes]
    _create(dynamodb, name, [key for key in (layout.partition, layout.sort) if key is not None], indexes)
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT})
    return Table(name, layout)


def make_keys_table(dynamodb: Any) -> str:
    """A table for API keys; its name."""
    name = f"keys-{uuid4().hex}"
    _create(dynamodb, name, [API_KEYS], [])
    return name


def make_bucket(s3: Any) -> str:
    """A bucket; its name."""
    name = f"bodies-{uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    return name


def make_stream(kinesis: Any, shards: int) -> str:
    """A stream in Kinesis; its name."""
    name = f"stream-{uuid4().hex}"
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    return name


def make_queue(sqs: Any, **attributes: str) -> str:
    """A queue of SQS; its URL."""
    suffix = ".fifo" if attributes.get("FifoQueue") else ""
    return str(sqs.create_queue(QueueName=f"queue-{uuid4().hex}{suffix}", Attributes=attributes)["QueueUrl"])


def make_machine(emulator: Emulator, document: Mapping[str, Any], kind: str = "STANDARD", *, invokes: str = "") -> str:
    """A state machine that may do nothing beyond itself, but invoke one function; its ARN."""
    name = f"machine-{uuid4().hex}"
    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = emulator.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    if invokes:
        allowed = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": invokes}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        emulator.client("iam").put_role_policy(RoleName=name, PolicyName="invokes", PolicyDocument=policy)
    made = emulator.client("stepfunctions").create_state_machine(
        name=name, definition=json.dumps(document), type=kind, roleArn=role
    )
    return str(made["stateMachineArn"])


def _create(dynamodb: Any, name: str, keys: list[Attribute], indexes: Iterable[tuple[str, list[Attribute]]]) -> None:
    indexes = list(indexes)
    attributes = {key for _, parts in [("", keys), *indexes] for key in parts}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key.name, "AttributeType": key.kind} for key in sorted(attributes)],
        KeySchema=_schema(keys),
        **(
            {
                "GlobalSecondaryIndexes": [
                    {"IndexName": index, "KeySchema": _schema(parts), "Projection": {"ProjectionType": "KEYS_ONLY"}}
                    for index, parts in indexes
                ]
            }
            if indexes
            else {}
        ),
    )
    until = time.monotonic() + 300
    while dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] != "ACTIVE" and time.monotonic() < until:
        time.sleep(0.02)


def _schema(keys: list[Attribute]) -> list[dict[str, str]]:
    return [{"AttributeName": key.name, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)]
