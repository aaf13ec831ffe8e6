"""The queue of a channel, and the one behind it: for what nobody could take."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headgate.aws.duties import BURIED_S, LONGEST_DAYS, working
from headgate.cdk.removal import removal
from headgate.declare.channel import Channel
from headgate.declare.delivery import Queued


class MessageQueue(Construct):
    """Where a Queued channel's messages wait for its worker; `dead` gets those that were taken too often.

    Encrypted, TLS only, and kept for as long as SQS keeps anything. With `order_by=` both are FIFO queues. Without
    `retains` they go with their stack.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        channel: Channel,
        delivery: Queued,
        retains: bool,
        name: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        how = working(channel, delivery)
        self.dead = dead_letters(self, "Dead", fifo=how.fifo, retains=retains)
        self.queue = _queue(
            self,
            "Queue",
            fifo=how.fifo,
            retains=retains,
            visibility_s=how.visibility_s,
            dead=sqs.DeadLetterQueue(queue=self.dead, max_receive_count=how.receives),
            name=name,
        )


def dead_letters(scope: Construct, id: str, *, fifo: bool = False, retains: bool) -> sqs.Queue:
    """A queue of what could not be handed over; a function drains it."""
    return _queue(scope, id, fifo=fifo, retains=retains, visibility_s=BURIED_S)


def _queue(
    scope: Construct,
    id: str,
    *,
    fifo: bool,
    retains: bool,
    visibility_s: int,
    dead: sqs.DeadLetterQueue | None = None,
    name: str | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        scope,
        id,
        queue_name=name,
        # Only so is the order kept within each value of `order_by=`, and one of them no burden for the others.
        fifo=True if fifo else None,
        deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP if fifo else None,
        fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID if fifo else None,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=Duration.days(LONGEST_DAYS),
        visibility_timeout=Duration.seconds(visibility_s),
        dead_letter_queue=dead,
        removal_policy=removal(retains=retains),
    )
