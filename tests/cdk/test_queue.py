"""Queues: durable, encrypted, over TLS alone, and never without one behind them."""

from __future__ import annotations

import pytest

from tests.cdk.stacks import Node, Synthesized

DAYS_S = 24 * 3600


def queues(made: Synthesized) -> dict[str, Node]:
    return {name: it["Properties"] for name, it in made.data.all("AWS::SQS::Queue").items()}


def test_every_queue_keeps_what_nobody_takes_as_long_as_can_be(works: Synthesized) -> None:
    assert {queue["MessageRetentionPeriod"] for queue in queues(works).values()} == {14 * DAYS_S}
    assert all(queue["SqsManagedSseEnabled"] for queue in queues(works).values())


def test_every_queue_is_reached_over_tls_alone(works: Synthesized) -> None:
    guarded = []
    for policy in works.data.properties("AWS::SQS::QueuePolicy"):
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Action"] == "sqs:*"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        guarded += [queue["Ref"] for queue in policy["Queues"]]
    assert sorted(guarded) == sorted(queues(works))


@pytest.mark.parametrize(("attempts", "receives"), [("Orders", 6), ("Payments", 8)])
def test_behind_a_queue_is_one_for_what_was_taken_too_often(works: Synthesized, attempts: str, receives: int) -> None:
    (queue,) = [
        it for name, it in queues(works).items() if name.startswith(f"{attempts}Queue") and "RedrivePolicy" in it
    ]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == receives
    behind = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    assert "RedrivePolicy" not in queues(works)[behind]
    assert queues(works)[behind].get("FifoQueue") == queue.get("FifoQueue")


def test_order_is_kept_for_each_value_and_not_for_all(works: Synthesized) -> None:
    fifo = {name: it for name, it in queues(works).items() if it.get("FifoQueue")}
    assert len(fifo) == 2
    for name, queue in fifo.items():
        assert name.startswith("PaymentsQueue")
        assert queue["DeduplicationScope"] == "messageGroup"
        assert queue["FifoThroughputLimit"] == "perMessageGroupId"


def test_tables_that_feed_a_queue_have_a_stream_of_both_images(works: Synthesized) -> None:
    streams = {
        name.removesuffix("Index")[: name.index("Index")]: it["Properties"].get("StreamSpecification")
        for name, it in works.data.all("AWS::DynamoDB::Table").items()
        if "Index" in name
    }
    fed = {name for name, stream in streams.items() if stream == {"StreamViewType": "NEW_AND_OLD_IMAGES"}}
    assert fed == {"Orders", "Payments", "Raw", "Drop"}
    assert all(streams[name] is None for name in streams if name not in fed)


def test_queues_stay_on_stages_that_retain(works: Synthesized) -> None:
    for queue in works.data.all("AWS::SQS::Queue").values():
        assert queue["DeletionPolicy"] == "RetainExceptOnCreate"
