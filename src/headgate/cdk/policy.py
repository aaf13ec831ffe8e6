"""What each duty may do, action by action, and on what. Nothing is granted that its function does not call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager

from headgate.aws.index import INLINE_BYTES
from headgate.aws.layout import body_prefix, layout_of
from headgate.cdk.bodies import keep_days
from headgate.declare.channel import Channel


class Grant(NamedTuple):
    """Actions on resources. `because` says why a resource has a `*` in it."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    because: str = ""


Duty = Callable[[Channel, dynamodb.ITable, s3.IBucket], list[Grant]]


def ingest(channel: Channel, table: dynamodb.ITable, bodies: s3.IBucket) -> list[Grant]:
    """Stores messages. A put on a condition tells what was there already, alone and in a transaction."""
    return [Grant(("dynamodb:PutItem",), (table.table_arn,)), *_bodies("s3:PutObject", channel, bodies)]


def query(channel: Channel, table: dynamodb.ITable, bodies: s3.IBucket) -> list[Grant]:
    """Reads messages: by key, and by the fields that HTTP can ask for, whose indexes tell keys."""
    layout = layout_of(channel)
    found = [layout.index_of(field.name) for field in channel.indexes]
    indexes = tuple(f"{table.table_arn}/index/{index.name}" for index in found if index is not None)
    return [
        Grant(("dynamodb:GetItem", *(["dynamodb:BatchGetItem"] if indexes else [])), (table.table_arn,)),
        *([Grant(("dynamodb:Query",), indexes)] if indexes else []),
        *_bodies("s3:GetObject", channel, bodies),
    ]


def look_up_keys(table: dynamodb.ITable) -> list[Grant]:
    """Finds an API key by its id."""
    return [Grant(("dynamodb:GetItem",), (table.table_arn,))]


def read_secrets(secrets: Sequence[secretsmanager.ISecret]) -> list[Grant]:
    """Reads the values of secrets."""
    arns = [secret.secret_arn for secret in secrets]
    return [Grant(("secretsmanager:GetSecretValue",), tuple(arns))] if arns else []


def _bodies(action: str, channel: Channel, bodies: s3.IBucket) -> list[Grant]:
    """For channels that take bodies which are too large for a row. A transaction has less room for each."""
    if channel.body_limit_bytes <= INLINE_BYTES and not channel.whole:
        return []
    resource = bodies.arn_for_objects(f"{body_prefix(channel.name, keep_days(channel))}*")
    return [Grant((action,), (resource,), "Bodies are called by their digests, which are not known beforehand.")]
