"""The index's table: one for each channel, as aws/layout.py says, with what only the stack settles."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from headgate.aws.layout import EXPIRES_AT, Attribute, layout_of
from headgate.cdk.acknowledged import acknowledge
from headgate.declare.channel import Channel

_KINDS = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER}


class IndexTable(Construct):
    """Where the messages of one channel are found. On demand, encrypted, with expiry. Where they are queued, the
    table has a stream, from which the queue is fed.

    With `retains` it outlives its stack, is protected from deletion, and can be put back to any second of the last
    35 days.
    """

    def __init__(self, scope: Construct, id: str, *, channel: Channel, retains: bool, name: str | None = None) -> None:
        super().__init__(scope, id)
        layout = layout_of(channel)
        self.channel = channel
        self.table = plain_table(
            self,
            layout.partition,
            layout.sort,
            expiry=EXPIRES_AT,
            stream=None if channel.queue is None else dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            retains=retains,
            name=name,
        )
        for index in layout.indexes:
            self.table.add_global_secondary_index(
                index_name=index.name,
                partition_key=_key(index.partition),
                sort_key=_key(index.sort),
                projection_type=dynamodb.ProjectionType.KEYS_ONLY,
            )


def plain_table(
    scope: Construct,
    partition: Attribute,
    sort: Attribute | None = None,
    *,
    expiry: str | None = None,
    stream: dynamodb.StreamViewType | None = None,
    retains: bool,
    name: str | None = None,
) -> dynamodb.Table:
    """A table as all of ours are."""
    recovery = dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=retains)
    table = dynamodb.Table(
        scope,
        "Table",
        table_name=name,
        partition_key=_key(partition),
        sort_key=None if sort is None else _key(sort),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute=expiry,
        stream=stream,
        point_in_time_recovery_specification=recovery,
        deletion_protection=retains,
        # A table that is protected cannot go, not even where the deployment that made it fails.
        removal_policy=RemovalPolicy.RETAIN if retains else RemovalPolicy.DESTROY,
    )
    if not retains:
        acknowledge(table, "AwsSolutions-DDB3", "What this stage stores is meant to go with it (removal=destroy).")
    return table


def _key(attribute: Attribute) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=attribute.name, type=_KINDS[attribute.kind])
