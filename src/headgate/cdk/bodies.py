"""The bucket of the bodies that are too large for a row."""

from __future__ import annotations

from datetime import timedelta

from aws_cdk import Duration
from aws_cdk import aws_s3 as s3
from constructs import Construct

from headgate.aws.layout import body_prefix
from headgate.cdk.archive import plain_bucket
from headgate.declare.channel import Channel

_DAY = timedelta(days=1)


class BodiesBucket(Construct):
    """Bodies of a channel with `keep=` go after it, and a day to spare. See `plain_bucket`."""

    def __init__(self, scope: Construct, id: str, *, channels: list[Channel], retains: bool) -> None:
        super().__init__(scope, id)
        self.bucket = plain_bucket(self, rules=_expiries(channels), retains=retains)


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
