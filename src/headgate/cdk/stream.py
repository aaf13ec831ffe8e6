"""The stream of a channel, and for each of its consumers a queue of what it was not given."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_kinesis as kinesis
from constructs import Construct

from headgate.cdk import outputs
from headgate.cdk.acknowledged import acknowledge
from headgate.cdk.queue import dead_letters
from headgate.cdk.removal import removal
from headgate.declare.channel import Channel
from headgate.declare.delivery import Stream


class MessageStream(Construct):
    """The log of a Stream channel: as many shards as declared, encrypted, kept as long as declared.

    `dead` has, by the names of consumers, the queues of the batches that their functions died at. Without `retains`
    all of it goes with its stack.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        channel: Channel,
        delivery: Stream,
        retains: bool,
        name: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.stream = kinesis.Stream(
            self,
            "Stream",
            stream_name=name,
            stream_mode=kinesis.StreamMode.PROVISIONED,
            shard_count=delivery.shards,
            retention_period=Duration.seconds(delivery.retention.total_seconds()),
            encryption=kinesis.StreamEncryption.MANAGED,
            removal_policy=removal(retains=retains),
        )
        self.dead = {
            handler.name: dead_letters(self, f"{outputs.pascal(handler.name)}Dead", retains=retains)
            for handler in channel.handlers
        }
        for queue in self.dead.values():
            acknowledge(
                queue, "AwsSolutions-SQS3", "It is a dead letter queue itself: that of a consumer of the stream."
            )
