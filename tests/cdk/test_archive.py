"""Archives: a bucket each, closed."""

from __future__ import annotations

from tests.cdk.stacks import Node, Synthesized


def buckets(made: Synthesized) -> dict[str, Node]:
    found = made.data.all("AWS::S3::Bucket")
    return {name.partition("Archive")[0]: it for name, it in found.items() if "Archive" in name}


def test_each_archive_of_a_channel_and_of_a_workflow_has_a_bucket_of_its_own(works: Synthesized) -> None:
    assert set(buckets(works)) == {"Orders", "Raw", "Kept", "Results"}


def test_an_archive_is_encrypted_closed_to_the_public_and_kept(works: Synthesized) -> None:
    for bucket in buckets(works).values():
        made = bucket["Properties"]
        assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
        (rule,) = made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
        (rule,) = made["LifecycleConfiguration"]["Rules"]
        assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_every_bucket_is_reached_over_tls_alone(works: Synthesized) -> None:
    policies = works.data.properties("AWS::S3::BucketPolicy")
    assert len(policies) == len(works.data.all("AWS::S3::Bucket"))
    for policy in policies:
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
