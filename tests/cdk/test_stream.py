"""Streams: as declared, encrypted."""

from __future__ import annotations

from tests.cdk.stacks import Synthesized


def test_a_stream_has_the_declared_shards_and_retention(works: Synthesized) -> None:
    (stream,) = (it for it in works.data.properties("AWS::Kinesis::Stream") if it["ShardCount"] == 2)
    assert stream["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert stream["RetentionPeriodHours"] == 36
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


def test_each_consumer_has_a_queue_of_what_it_was_not_given(works: Synthesized) -> None:
    names = [name for name in works.data.all("AWS::SQS::Queue") if name.startswith("ClicksStream")]
    assert sorted(name[:23] for name in names) == ["ClicksStreamCountDead2E", "ClicksStreamForwardDead"]
