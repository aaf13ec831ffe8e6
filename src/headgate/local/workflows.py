"""An app's workflows on this machine: their executions, the tasks these call, and the schedules that start them."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.compile import placed
from headgate.declare.express import document_of
from headgate.declare.task import local_name
from headgate.engine import Archive, ArchiveObject, Execution, Index, Lease, Notice, Topics
from headgate.errors import Unavailable
from headgate.gate.effects import Started
from headgate.local.executions import LocalExecutions, Workflow
from headgate.local.executions.schema import FILE_NAME
from headgate.local.executions.services import Invoke, Service, Services, TaskFailed
from headgate.local.item_expressions import Refused
from headgate.local.items import LocalItems
from headgate.local.scheduler import DueTimes, Scheduler
from headgate.local.starts import ENDED, Starts
from headgate.message import UNREAD, Message

_SERVICE = "arn:aws:states:::"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class LocalWorkflows:
    """Runs from the moment it is made; fires schedules from `start` on."""

    def __init__(
        self,
        app: App,
        folder: Path,
        invoke: Invoke,
        services: Mapping[str, Service],
        rows: DueTimes,
        clock: Clock,
        *,
        starts: Starts,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        known = {it.name: Workflow(placed(document_of(app, it), local_name), it.kind) for it in app.workflows}

        def invoke_or_hear(name: str, event: Any, token: str) -> Any:
            return _heard(starts, event) if name == ENDED else invoke(name, event, token)

        self.failures: Counter[str] = Counter()
        """How many executions ended badly since this was made, by workflow."""

        def ended(execution: Execution) -> None:
            if execution.status != "SUCCEEDED":
                self.failures[execution.workflow] += 1
            starts.ended(execution)

        performer = self._performer = Services(invoke_or_hear, services)
        file = folder / FILE_NAME
        self.executions = LocalExecutions(file, known, performer, clock, ended=ended, on_broken=on_broken)
        self.starts = starts
        try:
            self.scheduler = Scheduler(app.schedules, rows, self.executions, clock)
        except BaseException:
            self.executions.close()
            starts.close()
            raise

    def start_all(self, leases: Sequence[Lease]) -> list[Started | None]:
        """See `StartAll`."""
        return self.starts.start(self.executions, leases)

    def start(self) -> None:
        """Fire schedules."""
        self.scheduler.start()

    def close(self) -> None:
        """Stop. What is under way goes on when it is made again."""
        self.scheduler.close()
        self.executions.close()
        self.starts.close()

    def join(self) -> None:
        """Once closed: return when nothing is at work any more in the rooms of the engine, and in tasks."""
        self._performer.join()


def _heard(starts: Starts, event: Any) -> dict[str, bool]:
    try:
        return starts.hear(event)
    except Unavailable as error:
        raise TaskFailed("Unavailable", error.detail) from None


def services(topics: Topics, archive: Archive, items: LocalItems, index: Index, clock: Clock) -> dict[str, Service]:
    """The services that a workflow may ask, each with its room on this machine."""
    return {
        "sns:publish": _publishing(topics),
        "sqs:sendMessage": _sending(index, clock),
        "aws-sdk:s3:putObject": _putting(archive),
        **{f"dynamodb:{verb}": _keeping(items, verb) for verb in ("putItem", "updateItem", "getItem")},
    }


def _publishing(topics: Topics) -> Service:
    arn = local_name("topic", "")

    def publish(asked: Mapping[str, Any], _: str) -> dict[str, Any]:
        message = asked["Message"]
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        try:
            id_ = topics.publish(
                str(asked.get("TopicArn", "")).removeprefix(arn),
                Notice(str(asked.get("Subject") or text[:100]), text, {}),
            )
        except KeyError:
            raise TaskFailed("SNS.NotFoundException", "Topic does not exist") from None
        except Unavailable as error:
            raise TaskFailed("SNS.InternalErrorException", error.detail) from None
        return {"MessageId": id_}

    return publish


def _sending(index: Index, clock: Clock) -> Service:
    """What is sent to the queue of a channel is let in unread, under the id that SQS would give it."""
    url = local_name("queue", "")

    def send(asked: Mapping[str, Any], token: str) -> dict[str, Any]:
        channel, message = str(asked["QueueUrl"]).removeprefix(url), asked["MessageBody"]
        body = (message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)).encode()
        if not body:
            raise TaskFailed("SQS.AmazonSQSException", "The request must contain the parameter MessageBody.")
        id_ = str(uuid.uuid5(uuid.NAMESPACE_URL, token))
        sent = Message(channel, "", id_, body, clock.now_ms(), "", id_, "", UNREAD, None)
        (outcome,) = index.commit([sent])
        if outcome.kind not in ("stored", "replayed", "conflict"):  # asked again after a crash, it is there already
            raise TaskFailed("SQS.AmazonSQSException", "The message could not be stored.")
        return {"MD5OfMessageBody": hashlib.md5(body, usedforsecurity=False).hexdigest(), "MessageId": id_}

    return send


def _keeping(items: LocalItems, verb: str) -> Service:
    """With the names that Step Functions gives errors: what has no exception of its own is DynamoDB's own."""

    def keep(asked: Mapping[str, Any], token: str) -> dict[str, Any]:
        try:
            return items.carry_out(verb, asked, token)
        except Refused as refused:
            if refused.code == "States.Runtime":
                raise TaskFailed(refused.code, refused.sentence) from None
            name = "AmazonDynamoDBException" if refused.code == "ValidationException" else refused.code
            told = f"(Service: AmazonDynamoDBv2; Status Code: 400; Error Code: {refused.code}; Proxy: null)"
            raise TaskFailed(f"DynamoDB.{name}", f"{refused.sentence} {told}") from None
        except Unavailable as error:
            raise TaskFailed("DynamoDB.InternalServerErrorException", error.detail) from None

    return keep


def _putting(archive: Archive) -> Service:
    """As Step Functions and S3 do it: the body is written as JSON, a text with its quotes, and what lies under a key
    is replaced."""

    def put(asked: Mapping[str, Any], token: str) -> dict[str, Any]:
        content = b""
        if "Body" in asked:
            content = json.dumps(asked["Body"], ensure_ascii=False, separators=(",", ":")).encode()
        bucket, name = str(asked["Bucket"]), "/".join(map(_part, str(asked["Key"]).split("/")))
        if not _BUCKET.fullmatch(bucket):
            raise TaskFailed("S3.InvalidBucketNameException", "The specified bucket is not valid.")
        if archive.get(bucket, name) not in (None, content):
            archive.delete(bucket, name)
        mark = hashlib.sha256(token.encode()).hexdigest()
        if archive.put([ArchiveObject(bucket, name, content, "application/json", mark)]) != [name]:
            raise TaskFailed("S3.S3Exception", "The object could not be written.")
        return {}

    return put


def _part(part: str) -> str:
    """A part of a key as the name of a file or folder."""
    safe = quote(part, safe="!$&'()+,;=@")
    return safe.replace(".", "%2E") if safe in (".", "..") else safe or "%"
