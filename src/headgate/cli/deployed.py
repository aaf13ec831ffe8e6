"""An app as it is deployed, found by what CloudFormation tells of its stacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.cdk import outputs as names
from headgate.clock import SystemClock
from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam
from headgate.declare.channel import Channel
from headgate.declare.schedule import Schedule, is_rule
from headgate.declare.settings import Secret
from headgate.declare.stage import Stage
from headgate.errors import Misuse, NotDone, Unavailable

if TYPE_CHECKING:
    from headgate.aws.clients import Clients
    from headgate.aws.executions import StepFunctions
    from headgate.aws.index import DynamoIndex
    from headgate.aws.keys import DynamoKeys
    from headgate.aws.queue import DynamoQueue
    from headgate.aws.readers import Reader
    from headgate.aws.replay import Replaying
    from headgate.aws.stream import KinesisStream
    from headgate.testing.credentials import Credentials

_LOGIN = "log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID."
_REFUSED = {
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId", "RequestExpired",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_KINDS = {
    "AWS::DynamoDB::Table": "table",
    "AWS::DynamoDB::GlobalTable": "table",
    "AWS::S3::Bucket": "bucket",
    "AWS::SecretsManager::Secret": "secret",
}
_KEPT = ("Retain", "RetainExceptOnCreate")
_PAGE = 1000
_ALARMS_AT_ONCE = 100


class NotAllowed(Misuse):
    """Whoever asks AWS may not ask that."""


class Holding(NamedTuple):
    """Something of a deployed app that keeps data: how much is in it, and whether it is kept when the app goes."""

    kind: str
    name: str
    amount: str
    kept: bool


@dataclass(frozen=True)
class Deployed:
    """`clients` are those of the stage's region, with the credentials of whoever asks."""

    app: App
    stage: Stage
    clients: Clients

    @property
    def name(self) -> str:
        """As people are told it."""
        return f"{self.app.name} (stage {self.stage.name})"

    @cached_property
    def stacks(self) -> list[dict[str, Any]]:
        """Those of the app's stacks that are there, as CloudFormation describes them."""
        wanted = (names.data_stack(self.app, self.stage), names.service_stack(self.app, self.stage))
        return [stack for name in dict.fromkeys(wanted) if (stack := self._stack(name)) is not None]

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What the stacks tell. Raises Misuse where the app is not deployed."""
        if not self.stacks:
            raise self._not_deployed()
        told = (output for stack in self.stacks for output in stack.get("Outputs", []))
        return {output["OutputKey"]: output["OutputValue"] for output in told}

    def output(self, name: str) -> str:
        """One of them. Raises Misuse where what is deployed is older than the app here."""
        if name not in self.outputs:
            raise Misuse(f"What is deployed has no {name}: deploy again, `headgate deploy --stage {self.stage.name}`.")
        return self.outputs[name]

    def log_role(self) -> str:
        """The ARN of the role that API Gateway writes logs with, in all of the account and region; empty without."""
        with asking("apigateway:GET /account"):
            return str(self.clients.client("apigateway").get_account().get("cloudwatchRoleArn") or "")

    def holdings(self) -> list[Holding]:
        """What keeps data, table by table and bucket by bucket."""
        return [holding for stack in self.stacks for holding in self._holdings_of(stack["StackName"])]

    def alarms(self) -> list[dict[str, Any]]:
        """The app's alarms, as CloudWatch describes them. Raises Misuse where the app is not deployed."""
        if not self.stacks:
            raise self._not_deployed()
        resources = (it for stack in self.stacks for it in self._resources(stack["StackName"]))
        alarms = [it["PhysicalResourceId"] for it in resources if it["ResourceType"] == "AWS::CloudWatch::Alarm"]
        with asking("cloudwatch:DescribeAlarms"):
            client = self.clients.client("cloudwatch")
            pages = [
                client.describe_alarms(AlarmNames=alarms[at : at + _ALARMS_AT_ONCE])["MetricAlarms"]
                for at in range(0, len(alarms), _ALARMS_AT_ONCE)
            ]
        return [alarm for page in pages for alarm in page]

    def url(self, channel: Channel) -> str:
        """Where the channel is posted to."""
        return self.output(names.channel_url(channel.name))

    @contextmanager
    def index(self) -> Iterator[DynamoIndex]:
        """The messages, with the credentials of whoever asks."""
        from headgate.aws.index import DynamoIndex
        from headgate.aws.layout import layout_of
        from headgate.aws.pages import Table

        tables = [Table(self.output(names.channel_table(it.name)), layout_of(it)) for it in self.app.channels]
        index = DynamoIndex(tables, self.output(names.BODIES_BUCKET), self.clients, SystemClock())
        try:
            with _told():
                yield index
        finally:
            index.close()

    @contextmanager
    def rooms(self) -> Iterator[tuple[DynamoIndex, DynamoQueue]]:
        """The messages, and what is done to their rows."""
        from headgate.aws.queue import DynamoQueue

        with self.index() as index:
            yield index, DynamoQueue(index, self.clients, SystemClock())

    @contextmanager
    def stream(self) -> Iterator[KinesisStream]:
        """The records of the channels that have streams."""
        from headgate.aws.stream import KinesisStream, log_of

        logs = {
            it.name: log_of(it.stream, self.output(names.stream_name(it.name))) for it in self.app.channels if it.stream
        }
        with _told():
            yield KinesisStream(logs, self.clients, SystemClock())

    def readers(self, channel: Channel) -> list[Reader]:
        """The consumers of a channel's stream."""
        from headgate.aws.readers import readers_of

        with _told():
            return readers_of(self.clients, self.output(names.stream_arn(channel.name)), SystemClock())

    @contextmanager
    def replaying(self, channel: Channel, consumer: str) -> Iterator[Replaying]:
        """What hands records of a channel's stream to one of its consumers once more."""
        from headgate.aws.duties import consuming
        from headgate.aws.readers import functions_of
        from headgate.aws.replay import Replaying

        if channel.stream is None:
            raise Misuse(f"{channel.path} has no stream.")
        how, arn = consuming(channel, channel.stream), self.output(names.stream_arn(channel.name))
        with self.stream() as stream:
            functions = functions_of(self.clients, arn)
            if consumer not in functions:
                raise Misuse(f"{consumer} is not deployed: `headgate deploy --stage {self.stage.name}`.")
            retries = channel.stream.attempts - 1
            yield Replaying(stream, self.clients, channel.name, arn, functions[consumer], how.batch, retries)

    def switched_on_ms(self, schedule: Schedule) -> int | None:
        """When what starts the schedule's workflow was made or last changed, to a few seconds; None where that is not
        told. A rate counts from then."""
        name = self.output(names.schedule_name(schedule.name))
        for stack in dict.fromkeys([names.service_stack(self.app, self.stage), names.data_stack(self.app, self.stage)]):
            for resource in self._resources(stack):
                if resource.get("PhysicalResourceId") == name:
                    return int(resource["LastUpdatedTimestamp"].timestamp() * 1000)
        return None

    def is_enabled(self, schedule: Schedule) -> bool:
        """Whether AWS starts by the clock what the schedule says."""
        name = self.output(names.schedule_name(schedule.name))
        if is_rule(schedule):
            with asking("events:DescribeRule"):
                told = self.clients.client("events").describe_rule(Name=name)
        else:
            with asking("scheduler:GetSchedule"):
                told = self.clients.client("scheduler").get_schedule(Name=name)
        return bool(told["State"] == "ENABLED")

    @contextmanager
    def keys(self) -> Iterator[DynamoKeys]:
        """The API keys. Raises Misuse where no channel takes any."""
        from headgate.aws.keys import DynamoKeys

        if not any(isinstance(channel.auth, ApiKey) for channel in self.app.channels):
            raise Misuse("No channel of the app takes API keys; declare one with auth=ApiKey().")
        with _told():
            yield DynamoKeys(self.output(names.KEYS_TABLE), self.clients, SystemClock())

    @contextmanager
    def executions(self) -> Iterator[StepFunctions]:
        """The executions of the workflows."""
        from headgate.aws.executions import Machine, StepFunctions
        from headgate.aws.pages import Threads

        machines = {it.name: Machine(self.output(names.workflow_arn(it.name)), it.express) for it in self.app.workflows}
        threads = Threads()
        try:
            with _told():
                yield StepFunctions(machines, self.clients, threads)
        finally:
            threads.close()

    def secret_arns(self) -> dict[str, str]:
        """Where each of the app's secrets lies in Secrets Manager."""
        named = sorted({setting.name for _, setting in self.app.settings() if isinstance(setting, Secret)})
        return {name: self.output(names.secret_arn(name)) for name in named}

    def credentials(self, channel: Channel) -> Credentials:
        """What opens the channel. Raises Misuse for what is not kept where we could read it."""
        from headgate.aws.keys import Secrets
        from headgate.testing.credentials import Credentials

        if isinstance(channel.auth, ApiKey):
            raise Misuse(
                f"API keys of a deployed app are kept as hashes: make one with `headgate keys create {channel.name} "
                f"--stage {self.stage.name}`, and send it with -H 'X-Api-Key: KEY'."
            )
        settings = {name: value for name, value in os.environ.items() if value}
        asked = {setting.name for it, setting in self.app.settings() if it is channel and isinstance(setting, Secret)}
        with _told():
            arns = {name: arn for name, arn in self.secret_arns().items() if name in asked}
            secrets = Secrets(arns, self.clients, SystemClock()).values()
        return Credentials({**settings, **secrets}, SystemClock(), iam=self._access_key(channel))

    def _access_key(self, channel: Channel) -> dict[str, str]:
        """The asker's own, for a channel that wants requests signed with one."""
        if not isinstance(channel.auth, Iam):
            return {}
        from botocore.session import Session

        with asking("sts:GetCallerIdentity"):
            found = Session().get_credentials()
        if found is None:
            raise Misuse(f"There are no AWS credentials: {_LOGIN}")
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "session_token": frozen.token or "",
            "region": channel.auth.region,
            "service": Iam.service,
        }

    def _not_deployed(self) -> Misuse:
        return Misuse(f"{self.name} is not deployed here: `headgate deploy --stage {self.stage.name}`.")

    def _stack(self, name: str) -> dict[str, Any] | None:
        with asking("cloudformation:DescribeStacks"):
            client = self.clients.client("cloudformation")
            try:
                stack: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
            except client.exceptions.ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return None if stack["StackStatus"] in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS") else stack

    def _resources(self, stack: str) -> list[dict[str, Any]]:
        with asking("cloudformation:ListStackResources"):
            pages = self.clients.client("cloudformation").get_paginator("list_stack_resources")
            return [it for page in pages.paginate(StackName=stack) for it in page["StackResourceSummaries"]]

    def _holdings_of(self, stack: str) -> Iterator[Holding]:
        with asking("cloudformation:GetTemplate"):
            template = self.clients.client("cloudformation").get_template(StackName=stack)["TemplateBody"]
        for it in self._resources(stack):
            if it["ResourceType"] in _KINDS and "PhysicalResourceId" in it:
                kind, name = _KINDS[it["ResourceType"]], it["PhysicalResourceId"]
                declared = template["Resources"].get(it["LogicalResourceId"], {})
                yield Holding(kind, name, self._amount(kind, name), declared.get("DeletionPolicy") in _KEPT)

    def _amount(self, kind: str, name: str) -> str:
        match kind:
            case "table":
                from headgate.aws.layout import TRIAL

                with asking("dynamodb:Scan"):
                    page = self.clients.client("dynamodb").scan(
                        TableName=name,
                        Select="COUNT",
                        FilterExpression="attribute_not_exists(#trial)",  # that of a consumer is no message
                        ExpressionAttributeNames={"#trial": TRIAL},
                    )
                more = "LastEvaluatedKey" in page
                return _counted(page["Count"], "item", more=more)
            case "bucket":
                with asking("s3:ListBucket"):
                    listed = self.clients.client("s3").list_objects_v2(Bucket=name, MaxKeys=_PAGE)
                return _counted(listed["KeyCount"], "object", more=listed["IsTruncated"])
            case _:
                return "1 value"


@contextmanager
def _told() -> Iterator[None]:
    """The rooms of the engine tell their log which call it was, and nothing of it to whoever sent a message."""
    try:
        yield
    except Unavailable:
        raise NotDone("AWS did not do it; which call it was, and why, stands above.") from None


def _counted(count: int, what: str, *, more: bool) -> str:
    return f"{'more than ' if more else ''}{count:,} {what}{'' if count == 1 and not more else 's'}"


@contextmanager
def asking(action: str) -> Iterator[None]:
    """Whatever AWS or the way to it answers instead becomes one sentence. `action` is what IAM calls it."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise Misuse(f"There are no AWS credentials: {_LOGIN}") from None
    except NoRegionError:
        raise Misuse("There is no AWS region: set AWS_REGION, or say region= in app.stage(...).") from None
    except ProfileNotFound as error:
        raise Misuse(f"{error}.") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _REFUSED:
            raise Misuse(f"AWS does not take these credentials ({code}): {_LOGIN}") from None
        if code.startswith("AccessDenied"):
            raise NotAllowed(f"These credentials do not allow {action}.") from None
        raise NotDone(f"AWS did not do {action}: {error.response.get('Error', {}).get('Message', code)}") from None
    except BotoCoreError as error:
        raise NotDone(f"AWS cannot be reached: {error}") from None


def find(app: App, stage: str) -> Deployed:
    """The app as it is deployed in a stage. Raises Misuse where the extra `aws` is not installed."""
    try:
        import botocore.session  # noqa: F401 - only whether it is there

        from headgate.aws.clients import Clients
    except ModuleNotFoundError:
        raise Misuse("Asking AWS needs its SDK: `pip install 'headgate[aws]'`.") from None
    place = app.stage_named(stage)
    return Deployed(app, place, Clients(SystemClock(), region=place.region))
