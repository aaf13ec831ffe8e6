"""What can be declared, and served by the local engine, but not deployed: told before any stack is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from headgate import limits
from headgate.cdk import outputs
from headgate.cdk.environment import secrets_of
from headgate.declare.app import App
from headgate.declare.asl_services import ADDRESSED
from headgate.declare.auth import Iam, Public, Signed
from headgate.declare.channel import Channel
from headgate.declare.compile import place, places
from headgate.declare.delivery import Queued, Stream
from headgate.declare.settings import Secret
from headgate.declare.stage import Stage
from headgate.declare.stores import Field
from headgate.declare.task import Workflow
from headgate.errors import DeclarationError, DeclarationFault

_MOST_AGE = timedelta(days=7)
_HOUR = timedelta(hours=1)
_PLACE = re.compile(r"\$\{[a-z]+:[^{}]+\}")


class _Shape(NamedTuple):
    """What AWS lets resources of a kind be called."""

    pattern: re.Pattern[str]
    words: str


_FUNCTION = _Shape(re.compile(r"[A-Za-z0-9_-]{1,64}"), "1 to 64 letters, digits, _ and -")
_EIGHTY = _Shape(re.compile(r"[A-Za-z0-9_-]{1,80}"), "1 to 80 letters, digits, _ and -")
_FIFO = _Shape(
    re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo"),
    "for a queue with `order_by=` 1 to 75 letters, digits, _ and -, and .fifo at the end",
)
_CALLED = {
    "api": _Shape(re.compile(r"[ -~]{1,1024}"), "1 to 1024 printable characters of ASCII"),
    "table": _Shape(re.compile(r"[A-Za-z0-9_.-]{3,255}"), "3 to 255 letters, digits and _ . -"),
    "ingest": _FUNCTION,
    "worker": _FUNCTION,
    "task": _FUNCTION,
    "queue": _EIGHTY,
    "workflow": _EIGHTY,
    "stream": _Shape(re.compile(r"[A-Za-z0-9_.-]{1,128}"), "1 to 128 letters, digits and _ . -"),
    "archive": _Shape(
        re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "3 to 63 small letters, digits, . and -, with a letter or a digit at both ends",
    ),
    "topic": _Shape(re.compile(r"[A-Za-z0-9_-]{1,256}"), "1 to 256 letters, digits, _ and -"),
}


def check_fit(app: App, stage: Stage) -> None:
    """Raise DeclarationError for an app that cannot be honoured, on AWS or at all."""
    app.check()
    if faults := [*_faults(app), *_stage_faults(app, stage)]:
        raise DeclarationError(*faults)


def guards(channels: Iterable[Channel]) -> list[list[Channel]]:
    """The channels that an authorizer guards, those together that declare the same auth."""
    groups: list[list[Channel]] = []
    for channel in channels:
        if isinstance(channel.auth, Public | Signed | Iam):
            continue
        group = next((group for group in groups if group[0].auth == channel.auth), None)
        if group is None:
            groups.append([channel])
        else:
            group.append(channel)
    return groups


def _faults(app: App) -> Iterator[DeclarationFault]:
    for channel in app.channels:
        for sentence in _channel_sentences(channel):
            yield DeclarationFault(channel.where, f"channel {channel.path}: {sentence}")
    guarded = guards(app.channels)
    if len(guarded) > limits.AUTHORIZERS.value:
        sentence = (
            f"{len(guarded)} different auths take an authorizer each, and an API of API Gateway has at most "
            f"{limits.AUTHORIZERS.value}: let channels share one, or split the app in two."
        )
        yield DeclarationFault(guarded[limits.AUTHORIZERS.value][0].where, sentence)
    for workflow in app.workflows:
        for sentence in _workflow_sentences(workflow):
            yield DeclarationFault(workflow.where, f"workflow {workflow.name}: {sentence}")
    yield from _clashes(app)


def _channel_sentences(channel: Channel) -> Iterator[str]:
    if "~" in channel.path:
        yield "API Gateway takes no ~ in a path."
    if channel.queue is not None and channel.queue.at_most < limits.QUEUE.value:
        yield "nothing counts what waits in SQS at the gate, so Queued `at_most=` cannot be kept; leave it out."
    match channel.delivery:
        case Queued(validate="worker") as queued:
            if isinstance(channel.auth, Signed):
                yield "nobody verifies a signature on the way straight into a queue; use another auth, or the gate."
            if queued.order_by is not None:
                yield "API Gateway cannot read the field of `order_by=` in what is let in unread; validate at the gate."
            if channel.cors is not None and len(channel.cors.origins) > 1:
                yield "API Gateway can name one origin of Cors in the reply to what it lets in unread; say one, or `*`."
        case Stream(dedupe=True) if channel.per_principal:
            # The scopes of a stream's table are its consumers, and one may be called as a principal is.
            counts = 'with `scope="principal"`' if isinstance(channel.key, Field) else "with a key from a header"
            yield f"Stream `dedupe=` is not deployed {counts}; say a `key=` from the body, with the sender in it."
        case Stream(most_age=timedelta() as age) if age > _MOST_AGE:
            yield "Lambda knows no longer Stream `most_age=` than 7 days; say less, or leave it out."
        case Stream(retention=retention) if retention % _HOUR:
            yield f"Kinesis keeps records for whole hours; Stream `retention=` is {retention}."


def _workflow_sentences(workflow: Workflow) -> Iterator[str]:
    """A role may do what is declared; of anything else in a document nobody knows whose it is."""
    for name, state in _tasks(workflow.document):
        resource, asked = state["Resource"], state.get("Parameters", state.get("Arguments", {}))
        if places(resource):
            continue
        if resource not in ADDRESSED:
            yield f"state {name!r}: {resource} is not deployed by this version; call a task that does it."
            continue
        key, kind = ADDRESSED[resource]
        if not isinstance(asked, Mapping) or not _PLACE.fullmatch(str(asked.get(key, ""))):
            yield f"state {name!r}: say {key} as {place(kind, 'NAME')}, with a name that the app declares."


def _tasks(machine: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The Task states of a document, also within branches and items."""
    for name, state in machine["States"].items():
        if state["Type"] == "Task":
            yield name, state
        for inner in (*state.get("Branches", ()), state.get("ItemProcessor", state.get("Iterator"))):
            if inner is not None:
                yield from _tasks(inner)


def _clashes(app: App) -> Iterator[DeclarationFault]:
    """Things whose outputs would have one name."""
    taken = {outputs.API_URL, outputs.API_ID, outputs.KEYS_TABLE, outputs.BODIES_BUCKET, outputs.NOTICES_KEY}
    for what, where, told in _told(app):
        if taken.isdisjoint(told):
            taken |= told
        else:
            way_out = "say another `name=`" if what.startswith("channel") else "rename it"
            sentence = f"{what}: an output of the stacks is called {min(told & taken)} already; {way_out}."
            yield DeclarationFault(where, sentence)


def _told(app: App) -> Iterator[tuple[str, str, set[str]]]:
    """What is declared, where, and the outputs that tell of it."""
    for channel in app.channels:
        yield f"channel {channel.path}", channel.where, set(outputs.of_channel(channel))
    for table in app.tables:
        yield f"table {table.name}", table.where, {outputs.channel_table(table.name)}
    for topic in app.topics:
        yield f"topic {topic.name}", topic.where, {outputs.topic_arn(topic.name)}
    for task in app.tasks:
        yield f"task {task.name}", task.where, {outputs.task_name(task.name)}
    for workflow in app.workflows:
        yield f"workflow {workflow.name}", workflow.where, {outputs.workflow_arn(workflow.name)}
    for schedule in app.schedules:
        yield f"schedule {schedule.name}", schedule.where, {outputs.schedule_name(schedule.name)}
    own = {channel.name for channel in app.channels if channel.archive is not None}
    for name in outputs.archives(app):
        if name not in own:
            told = {outputs.archive_name(name), outputs.archive_url(name)}
            yield f"archive {name}", app.where, told
    wanted = {it.name: owner.where for owner, it in app.settings() if isinstance(it, Secret)}
    for name in secrets_of(app):
        yield f'Secret("{name}")', wanted[name], {outputs.secret_arn(name)}


def _stage_faults(app: App, stage: Stage) -> Iterator[DeclarationFault]:
    known = {"api"}
    for channel in app.channels:
        known |= {f"{kind}:{channel.name}" for kind in _named(channel)}
    known |= {f"archive:{name}" for name in outputs.archives(app)}
    known |= {f"topic:{it.name}" for it in app.topics} | {f"workflow:{it.name}" for it in app.workflows}
    known |= {f"task:{it.name}" for it in app.tasks} | {f"table:{it.name}" for it in app.tables}
    ordered = {f"queue:{it.name}" for it in app.channels if it.queue is not None and it.queue.order_by is not None}
    for what, called in stage.names.items():
        shape = _FIFO if what in ordered else _CALLED[what.partition(":")[0]]
        if what not in known:
            sentence = f"stage {stage.name}: `names=` has {what!r}; the app has {', '.join(sorted(known))}."
            yield DeclarationFault(stage.where, sentence)
        elif not shape.pattern.fullmatch(called):
            sentence = f"stage {stage.name}: `names=` calls {what} {called!r}; AWS takes {shape.words}."
            yield DeclarationFault(stage.where, sentence)
    taken = {name for it in app.channels for name in it.needs.env} | {it.name for _, it in app.settings()}
    for variable, what in stage.variables.items():
        if what not in known:
            sentence = f"stage {stage.name}: `variables=` has {what!r}; the app has {', '.join(sorted(known))}."
            yield DeclarationFault(stage.where, sentence)
        elif variable in taken:
            sentence = f"stage {stage.name}: `variables=`: the app has a variable {variable} of its own."
            yield DeclarationFault(stage.where, sentence)
    told = {outputs.API_URL, outputs.API_ID, outputs.KEYS_TABLE, outputs.BODIES_BUCKET, outputs.NOTICES_KEY}
    told = told.union(*(names for _, _, names in _told(app)))
    for output, meant in stage.outputs.items():
        if meant not in told:
            sentence = f"stage {stage.name}: `outputs=` names {meant!r}; the stacks have {', '.join(sorted(told))}."
            yield DeclarationFault(stage.where, sentence)
        elif output in told:
            sentence = f"stage {stage.name}: `outputs=`: the stacks have an output {output} already."
            yield DeclarationFault(stage.where, sentence)


def _named(channel: Channel) -> Iterator[str]:
    yield "table"
    if not channel.unread:
        yield "ingest"
    if channel.queue is not None:
        yield from ("queue", "worker")
    if channel.stream is not None:
        yield "stream"
