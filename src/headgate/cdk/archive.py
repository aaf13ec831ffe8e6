"""The archive: a bucket for each channel that keeps objects, and for each archive that a workflow puts into."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from headgate.cdk.acknowledged import acknowledge

_UNFINISHED = s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1))


class ArchiveBucket(Construct):
    """Where objects rest under their declared names, until somebody removes them. See `plain_bucket`."""

    def __init__(self, scope: Construct, id: str, *, retains: bool, name: str | None = None) -> None:
        super().__init__(scope, id)
        self.bucket = plain_bucket(self, retains=retains, name=name)


def plain_bucket(
    scope: Construct, *, rules: Sequence[s3.LifecycleRule] = (), retains: bool, name: str | None = None
) -> s3.Bucket:
    """A bucket as all of ours are: encrypted, closed to the public, TLS only, without half uploads.

    Without `retains` it is emptied and removed with its stack.
    """
    bucket = s3.Bucket(
        scope,
        "Bucket",
        bucket_name=name,
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        lifecycle_rules=[*rules, _UNFINISHED],
        removal_policy=RemovalPolicy.RETAIN if retains else RemovalPolicy.DESTROY,
        auto_delete_objects=not retains,
    )
    acknowledge(
        bucket,
        "AwsSolutions-S1",
        "Only the app's functions reach it, and each request they serve is in the API's access log.",
    )
    return bucket
