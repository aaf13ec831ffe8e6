"""The archive: a bucket for each channel that keeps objects, and for each archive that a workflow puts into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from aws_cdk import CfnResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from headgate.cdk.acknowledged import acknowledge
from headgate.cdk.removal import removal

_EMPTYING = "Custom::S3AutoDeleteObjects"
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
        removal_policy=removal(retains=retains),
        auto_delete_objects=not retains,
    )
    acknowledge(
        bucket,
        "AwsSolutions-S1",
        "Only the app's functions reach it, and each request they serve is in the API's access log.",
    )
    if not retains:
        _let_go_of_log(Stack.of(scope))
    return bucket


def _let_go_of_log(stack: Stack) -> None:
    """Have the log of the CDK's own function that empties buckets go with the stack. As the CDK makes it, Lambda makes
    that log, which stays for ever; and makes it anew where it was removed."""
    provider = cast(Construct, stack.node.find_child(f"{_EMPTYING}CustomResourceProvider"))
    if provider.node.try_find_child("Log") is not None:
        return
    log = logs.LogGroup(provider, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
    write = iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log.log_group_arn])
    role, function = (cast(CfnResource, provider.node.find_child(name)) for name in ("Role", "Handler"))
    role.add_property_deletion_override("ManagedPolicyArns")
    document = {"Version": "2012-10-17", "Statement": [write.to_json()]}
    role.add_property_override("Policies", [{"PolicyName": "Log", "PolicyDocument": document}])
    function.add_property_override("LoggingConfig", {"LogGroup": log.log_group_name})
