"""The functions of one channel: at the gate and behind it, each with what it is told, may do, and is called by."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs

from headgate.aws.duties import (
    BURIED_S,
    FORWARDED,
    FORWARDED_BATCH,
    STORED_BATCH,
    STORING_S,
    SWEEP_MINUTES,
    consuming,
    working,
)
from headgate.aws.ended import ended_pattern
from headgate.aws.settings import Settings
from headgate.cdk import outputs, policy
from headgate.cdk.data import Stored
from headgate.cdk.environment import Surroundings, secrets_of_auth
from headgate.cdk.functions import Functions
from headgate.declare.auth import Signed
from headgate.declare.channel import Channel
from headgate.declare.delivery import Queued, Stream
from headgate.declare.handler import Handler, Needs
from headgate.declare.stage import Stage

HANDLERS = "headgate.aws.lambdas"

_FORWARDED_AGE = Duration.hours(1)
"""What a forwarder could not tell a queue for so long is left to the sweep."""
_BURIED_TIME_S = BURIED_S // 6

# What each duty is told of the rooms that it has to do with.
_TOLD = {
    "ingest": ("table", "bodies", "archive", "stream"),
    "query": ("table", "bodies"),
    "forwarder": ("queue",),
    "worker": ("table", "bodies", "queue", "archive"),
    "buried": ("table", "bodies", "stream"),
    "sweep": ("table", "bodies", "queue", "archive", "stream"),
    "consumer": ("table", "bodies"),
    "ended": ("table",),
}
_TOLD_ROWLESS = ("stream",)
_STARTING = ("ingest", "sweep")


@dataclass(frozen=True)
class ChannelFunctions:
    """Makes the functions of one channel."""

    channel: Channel
    functions: Functions
    data: Stored
    told: Surroundings
    stage: Stage
    starts: policy.Starts | None = None

    # ------------------------------------------------------------------------------------------------------- the gate

    def ingest(self) -> lambda_.Function | None:
        """What takes messages in; None where they are let in unread."""
        if self.channel.unread:
            return None
        description = f"Takes in what is posted to {self.channel.path}"
        return self._at_gate("ingest", description, policy.ingest)

    def query(self) -> lambda_.Function | None:
        """What messages are read back with; None where they cannot be."""
        if not self.channel.read:
            return None
        return self._at_gate("query", f"Reads back what was posted to {self.channel.path}", policy.query)

    def _at_gate(self, duty: str, description: str, granted: policy.Duty) -> lambda_.Function:
        # A signature is one of the body, which an authorizer does not get: the function verifies it itself.
        secrets = secrets_of_auth(self.told.app, [self.channel]) if isinstance(self.channel.auth, Signed) else []
        return self._add(duty, description, granted, self.rooms(), secrets=secrets)

    # ------------------------------------------------------------------------------------------------ behind the gate

    def add_behind(self) -> dict[str, lambda_.Function]:
        """What goes on when the sender has been answered. Answers with the functions that handle: that of a queue under
        no name, those of a stream under the names of the consumers."""
        match self.channel.delivery:
            case Queued() as queued:
                return {"": self._add_queued(queued)}
            case Stream() as stream:
                if stream.dedupe:
                    self._add_sweep("Appends what was stored at {} and has no record")
                return {handler.name: self._add_consumer(stream, handler) for handler in self.channel.handlers}
            case _ if self.channel.finishes:
                self._add_sweep("Finishes what was stored at {} and not gone on with")
        return {}

    def ended(self) -> lambda_.Function:
        """What hears of the ends of executions that messages started."""
        description = f"Writes down the ends of what {self.channel.path} started"
        start = self.channel.start
        express = start and any(it.name == start.workflow_name and it.express for it in self.told.app.workflows)
        granted = policy.told_ends if express else policy.ended
        return self._add("ended", description, granted, self.rooms(), timeout_s=STORING_S)

    def _add_queued(self, delivery: Queued) -> lambda_.Function:
        path, how, found = self.channel.path, working(self.channel, delivery), self.data.queues[self.channel.name]
        forwarder = self._add(
            "forwarder",
            f"Tells the queue of what is stored at {path}",
            policy.forwarder,
            self.rooms(),
            timeout_s=STORING_S,
        )
        forwarder.add_event_source_mapping(
            "Table",
            event_source_arn=self.data.table_streams[self.channel.name],
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=FORWARDED_BATCH,
            filters=[{"pattern": json.dumps(pattern)} for pattern in FORWARDED],
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            max_record_age=_FORWARDED_AGE,
        )
        worker = self._add(
            "worker",
            f"Works off what is posted to {path}",
            policy.worker,
            self.rooms(),
            timeout_s=how.timeout_s,
            needs=self.channel.needs,
            feeds_itself=True,
        )
        worker.add_event_source_mapping(
            "Queue",
            event_source_arn=found.queue.queue_arn,
            batch_size=how.batch,
            max_concurrency=how.concurrency,
            report_batch_item_failures=True,
        )
        buried = self._add(
            "buried",
            f"Writes down what no worker could take of {path}",
            policy.buried,
            self.rooms(),
            timeout_s=_BURIED_TIME_S,
        )
        self._drain(buried, found.dead)
        self._add_sweep("Has the queue told again of what was left behind at {}")
        return worker

    def _add_sweep(self, description: str) -> None:
        sweep = self._add(
            "sweep", description.format(self.channel.path), policy.sweep, self.rooms(), timeout_s=STORING_S
        )
        _call_each_minute(sweep)

    def _add_consumer(self, delivery: Stream, handler: Handler) -> lambda_.Function:
        path, how, found = self.channel.path, consuming(self.channel, delivery), self.data.streams[self.channel.name]
        dead = found.dead[handler.name]
        rooms = self.rooms()._replace(dead=dead)
        name = outputs.pascal(handler.name)
        consumer = self._add(
            "consumer",
            f"Gives {handler.name} what is posted to {path}",
            policy.consumer,
            rooms,
            name=f"{name}Consumer",
            consumer=handler.name,
            timeout_s=how.timeout_s,
            needs=self.channel.needs,
        )
        consumer.add_event_source_mapping(
            "Stream",
            event_source_arn=found.stream.stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=how.batch,
            bisect_batch_on_error=True,
            report_batch_item_failures=True,
            retry_attempts=how.retries,
            max_record_age=None if how.most_age_s is None else Duration.seconds(how.most_age_s),
            on_failure=sources.SqsDlq(dead),
        )
        _call_each_minute(consumer)  # for dead letters that were put back
        buried = self._add(
            "buried",
            f"Writes down what {handler.name} could not be given of {path}",
            policy.buried_records,
            rooms,
            name=f"{name}Buried",
            consumer=handler.name,
            timeout_s=_BURIED_TIME_S,
        )
        self._drain(buried, dead)
        return consumer

    def _drain(self, function: lambda_.Function, dead: sqs.IQueue) -> None:
        function.add_event_source_mapping(
            "Dead", event_source_arn=dead.queue_arn, batch_size=STORED_BATCH, report_batch_item_failures=True
        )

    # ------------------------------------------------------------------------------------------------------ the pieces

    def rooms(self) -> policy.Rooms:
        """Where its messages are stored."""
        name = self.channel.name
        queues, streams = self.data.queues.get(name), self.data.streams.get(name)
        return policy.Rooms(
            self.data.tables[name],
            self.data.bodies,
            self.data.archives.get(name) if self.channel.archive is not None else None,
            None if queues is None else queues.queue,
            None if queues is None else queues.dead,
            None if streams is None else streams.stream,
            self.starts,
        )

    def _add(
        self,
        duty: str,
        description: str,
        granted: policy.Duty,
        rooms: policy.Rooms,
        *,
        name: str = "",
        consumer: str = "",
        secrets: list[str] | None = None,
        timeout_s: int | None = None,
        needs: Needs | None = None,
        feeds_itself: bool = False,
    ) -> lambda_.Function:
        read = [*(secrets or ()), *(() if needs is None else (secret.name for secret in needs.secrets))]
        settings = _with_rooms(self.told.settings([self.channel], read), self.channel, duty, rooms)
        return self.functions.add(
            f"{outputs.pascal(self.channel.name)}{name or duty.capitalize()}",
            handler=f"{HANDLERS}.{duty}.handler",
            description=description,
            environment={
                **self._further(settings),
                **self.told.variables(replace(settings, consumer=consumer), needs),
            },
            grants=[
                *granted(self.channel, rooms),
                *policy.read_secrets([self.data.secrets[one] for one in read]),
            ],
            memory_mb=None if needs is None else needs.memory_mb,
            timeout_s=timeout_s,
            called=self.stage.names.get(f"{duty}:{self.channel.name}") if not consumer else None,
            feeds_itself=feeds_itself,
        )

    def _further(self, settings: Settings) -> dict[str, str]:
        """What the stage tells beside, of what the function works with."""
        name = self.channel.name
        known = {
            f"table:{name}": settings.table,
            f"queue:{name}": settings.queue,
            f"stream:{name}": settings.stream,
            f"archive:{name}": settings.archive,
            **{f"workflow:{workflow}": arn for workflow, arn in settings.workflows.items()},
        }
        return {variable: known[what] for variable, what in self.stage.variables.items() if known.get(what)}


def _call_each_minute(function: lambda_.Function) -> None:
    events.Rule(
        function,
        "Each",
        schedule=events.Schedule.rate(Duration.minutes(SWEEP_MINUTES)),
        targets=[targets.LambdaFunction(function, retry_attempts=0)],
    )


def tell_ends(ended: lambda_.Function, machine: str) -> None:
    """Have EventBridge call a function at the ends of the executions of a Standard machine."""
    pattern = ended_pattern(machine)
    events.Rule(
        ended,
        "Ends",
        event_pattern=events.EventPattern(
            source=pattern["source"], detail_type=pattern["detail-type"], detail=pattern["detail"]
        ),
        targets=[targets.LambdaFunction(ended)],
    )


def _with_rooms(settings: Settings, channel: Channel, duty: str, rooms: policy.Rooms) -> Settings:
    told = _TOLD_ROWLESS if duty == "ingest" and channel.rowless else _TOLD[duty]
    known = {
        "table": rooms.table.table_name,
        "bodies": rooms.bodies.bucket_name,
        "archive": "" if rooms.archive is None else rooms.archive.bucket_name,
        "queue": "" if rooms.queue is None else rooms.queue.queue_url,
        "stream": "" if rooms.stream is None else rooms.stream.stream_name,
    }
    found = {name: known[name] if name in told else "" for name in known}
    starts = rooms.starts if duty in _STARTING else None
    return replace(
        settings,
        table=found["table"],
        bodies=found["bodies"],
        archive=found["archive"],
        queue=found["queue"],
        stream=found["stream"],
        workflows={starts.workflow: starts.machine} if starts is not None else {},
        ended=starts.ended if starts is not None else "",
    )
