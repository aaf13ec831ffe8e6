"""What each duty may do, action by action, and on what. Nothing is granted that its function does not call."""

from __future__ import annotations

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from headgate.aws.layout import body_prefix
from headgate.cdk.bodies import keep_days
from headgate.declare.channel import Channel


def allow(actions: list[str], *resources: str) -> iam.PolicyStatement:
    """A statement of a policy."""
    return iam.PolicyStatement(actions=actions, resources=list(resources))


def ingest(channel: Channel, table: dynamodb.ITable, bodies: s3.IBucket) -> list[iam.PolicyStatement]:
    """Stores messages: what is new is put on a condition, what was there is read."""
    return [
        allow(["dynamodb:PutItem", "dynamodb:GetItem"], table.table_arn),
        allow(["s3:PutObject"], _bodies_of(channel, bodies)),
    ]


def query(channel: Channel, table: dynamodb.ITable, bodies: s3.IBucket) -> list[iam.PolicyStatement]:
    """Reads messages, by key and by index."""
    indexes = [f"{table.table_arn}/index/{name}" for name in ()]
    return [
        allow(["dynamodb:GetItem"], table.table_arn),
        *([allow(["dynamodb:Query"], *indexes)] if indexes else []),
        allow(["s3:GetObject"], _bodies_of(channel, bodies)),
    ]


def _bodies_of(channel: Channel, bodies: s3.IBucket) -> str:
    return bodies.arn_for_objects(f"{body_prefix(channel.name, keep_days(channel))}*")
