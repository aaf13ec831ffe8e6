"""An app's workflows on this machine: their executions, the tasks these call, and the schedules that start them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headgate.clock import Clock
from headgate.declare import asl
from headgate.declare import task as declared
from headgate.declare.app import App
from headgate.declare.task import local_name
from headgate.engine import Archive, ArchiveObject, Lease, Notice, Topics
from headgate.errors import Misuse, Unavailable
from headgate.gate.effects import Started
from headgate.local.executions import LocalExecutions, Workflow
from headgate.local.executions.schema import FILE_NAME
from headgate.local.executions.services import Invoke, Service, Services, TaskFailed
from headgate.local.scheduler import DueTimes, Scheduler
from headgate.local.starts import Starts

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
        for workflow in app.workflows:
            _check_rooms(workflow, services)
        known = {workflow.name: Workflow(workflow.placed(), workflow.kind) for workflow in app.workflows}
        performer = Services(invoke, services)
        file = folder / FILE_NAME
        self.executions = LocalExecutions(file, known, performer, clock, ended=starts.ended, on_broken=on_broken)
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


def _check_rooms(workflow: declared.Workflow, services: Mapping[str, Service]) -> None:
    """Raise Misuse where a workflow asks a service that this machine has no room for."""
    for name, state in asl.states(workflow.placed()):
        service = str(state.get("Resource", "")).removeprefix(_SERVICE)
        if service.count(":") and not asl.is_lambda(service) and service not in (*services, "lambda:invoke"):
            raise Misuse(
                f"{workflow.where}: workflow {workflow.name}: state {name!r} asks {service}, for which this machine "
                f"has no room; it has {', '.join(services)}. Do it in a task."
            )


def services(topics: Topics, archive: Archive) -> dict[str, Service]:
    """The services that a workflow may ask, each with its room on this machine."""
    return {"sns:publish": _publishing(topics), "aws-sdk:s3:putObject": _putting(archive)}


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


def _putting(archive: Archive) -> Service:
    """As S3 does it: what lies under a key is replaced."""

    def put(asked: Mapping[str, Any], token: str) -> dict[str, Any]:
        body = asked.get("Body", "")
        content = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
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
