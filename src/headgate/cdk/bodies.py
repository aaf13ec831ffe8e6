"""The bucket of the bodies that are too large for a row."""

from __future__ import annotations

from datetime import timedelta

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from headgate.aws.layout import body_prefix
from headgate.cdk.acknowledged import acknowledge
from headgate.declare.channel import Channel

_UNFINISHED = s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1))
_DAY = timedelta(days=1)


class BodiesBucket(Construct):
    """Encrypted, closed to the public, TLS only. Bodies of a channel with `keep=` go after it, and a day to spare.

    Without `retains` it is emptied and removed with its stack.
    """

    def __init__(self, scope: Construct, id: str, *, channels: list[Channel], retains: bool) -> None:
        super().__init__(scope, id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            lifecycle_rules=[*_expiries(channels), _UNFINISHED],
            removal_policy=RemovalPolicy.RETAIN if retains else RemovalPolicy.DESTROY,
            auto_delete_objects=not retains,
        )
        acknowledge(
            self.bucket,
            "AwsSolutions-S1",
            "Only the app's functions reach it, and each request they serve is in the API's access log.",
        )


def keep_days(channel: Channel) -> int | None:
    """`keep=` in whole days, rounded up; None for ever."""
    return None if channel.keep is None else -(-channel.keep // _DAY)


def _expiries(channels: list[Channel]) -> list[s3.LifecycleRule]:
    rules = []
    for channel in channels:
        if (days := keep_days(channel)) is not None:
            prefix = body_prefix(channel.name, days)
            rules.append(s3.LifecycleRule(id=channel.name, prefix=prefix, expiration=Duration.days(days + 1)))
    return rules
