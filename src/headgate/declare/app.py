"""An app: the whole declaration."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, overload

from headgate.declare.auth import Iam, Jwt, Signed
from headgate.declare.channel import Channel
from headgate.declare.later import refuse_name
from headgate.declare.pipeline import Pipeline
from headgate.declare.schedule import Schedule
from headgate.declare.settings import Env, Secret
from headgate.declare.shape import TEXT, given, misfits
from headgate.declare.source import caller
from headgate.declare.stage import DEFAULT_STAGE, Packaging, Stage, packaging_sentences
from headgate.declare.table import Table
from headgate.declare.task import Task, Workflow
from headgate.declare.topic import Subscriber, Topic
from headgate.errors import DeclarationError, DeclarationFault, Misuse

if TYPE_CHECKING:
    from headgate.declare.task import Definition

Options = ParamSpec("Options")

_TEXTS = {"title": TEXT, "description": TEXT}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")


def _adding(make: Callable[Options, Channel]) -> Callable[Concatenate[App, Options], Channel]:
    """The method that makes a Channel and adds it to the app; its options are those of `Channel`, stated there."""
    known = signature(make).parameters

    def channel(self: App, /, *args: Options.args, **options: Options.kwargs) -> Channel:
        """Declare an endpoint, with the options that `help(Channel)` tells; what cannot be honoured `check` says."""
        _refuse_unknown(known, args, options)
        made = make(*args, **options)
        self.channels.append(made)
        return made

    return channel


def _refuse_unknown(known: Collection[str], args: Sequence[object], options: Iterable[str]) -> None:
    """Raise DeclarationError for arguments that no channel has."""
    sentences = []
    if not args and "path" not in options:
        sentences.append('say the path first, as in app.channel("/orders", ...).')
    if len(args) > 2:
        sentences.append('only path and model are positional; name the rest, as in key="id".')
    _refuse(sentences + _unknown("channel", known, options))


def _staging(make: Callable[Options, Stage]) -> Callable[Concatenate[App, Options], Stage]:
    """The method that makes a Stage and adds it to the app; its options are those of `Stage`, stated there."""
    known = [name for name in signature(make).parameters if name != "where"]

    def stage(self: App, /, *args: Options.args, **options: Options.kwargs) -> Stage:
        """Declare a stage, with the options that `help(Stage)` tells; what cannot be honoured `check` says."""
        sentences = _unknown("stage", known, options)
        if len(args) + ("name" in options) != 1:
            sentences.append('say the name first and the rest by name, as in app.stage("prod", region="eu-west-1").')
        _refuse(sentences)
        made = replace(make(*args, **options), where=caller())
        self.stages.append(made)
        return made

    return stage


def _piping(make: Callable[Options, Pipeline]) -> Callable[Concatenate[App, Options], Pipeline]:
    """The method that makes a Pipeline and adds it to the app; its options are those of `Pipeline`, stated there."""
    known = [name for name in signature(make).parameters if name != "where"]

    def pipeline(self: App, /, *args: Options.args, **options: Options.kwargs) -> Pipeline:
        """Declare what deploys the app whenever somebody pushes, with the options that `help(Pipeline)` tells."""
        sentences = _unknown("pipeline", known, options)
        missing = [name for name in known[len(args) : 2] if name not in options]
        sentences += [f"say `{name}=`, as in app.pipeline(source, stages)." for name in missing]
        _refuse(sentences)
        made = replace(make(*args, **options), where=caller())
        self.pipelines.append(made)
        return made

    return pipeline


def _unknown(what: str, known: Collection[str], options: Iterable[str]) -> list[str]:
    """A sentence for each option that there is not."""
    sentences = []
    for option in options:
        if option not in known:
            refuse_name(option)
            sentences.append(f"there is no {what} option `{option}=` in this version{_meant(option, known, '=')}")
    return sentences


def _refuse(sentences: list[str]) -> None:
    if sentences:
        raise DeclarationError(*(DeclarationFault(caller(), sentence) for sentence in sentences))


def _meant(name: str, known: Iterable[str], ending: str = "") -> str:
    """How a sentence about an unknown name ends."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean `{near[0]}{ending}`?" if near else "."


class App:
    """The whole declaration: a name, and channels.

        app = App("shop")
        app.channel("/orders", Order, key="record_id", auth=ApiKey())

    `name` is 1 to 63 letters, digits and hyphens, starting with a letter. `runtime` and `packaging` (`"zip"`, or
    `"image"` for a container image) are for AWS, where the functions run on arm64.
    """

    def __init__(
        self,
        name: str,
        *,
        title: str = "",
        description: str = "",
        runtime: str = "python3.13",
        packaging: Packaging = "zip",
    ) -> None:
        self.where = caller()
        self.name = name
        self.title = name if title == "" else title
        self.description = description
        self.runtime = runtime
        self.packaging = packaging
        self.channels: list[Channel] = []
        self.stages: list[Stage] = []
        self.topics: list[Topic] = []
        self.tasks: list[Task] = []
        self.workflows: list[Workflow] = []
        self.schedules: list[Schedule] = []
        self.pipelines: list[Pipeline] = []
        self.tables: list[Table] = []

    def __repr__(self) -> str:
        return f"<app {self.name} with {len(self.channels)} channels>"

    channel = _adding(Channel)
    stage = _staging(Stage)
    pipeline = _piping(Pipeline)

    def stage_named(self, name: str) -> Stage:
        """The stage of that name. Where none is declared any name will do; else only those, and `dev`.

        Raises Misuse for another one.
        """
        for declared in self.stages:
            if declared.name == name:
                return declared
        if self.stages and name != DEFAULT_STAGE:
            known = ", ".join(declared.name for declared in self.stages)
            raise Misuse(f"There is no stage {name!r}; the app has {known}.")
        made = Stage(name)
        for fault in made.faults():
            raise Misuse(fault.sentence[0].upper() + fault.sentence[1:])
        return made

    def topic(self, name: str, *subscribers: Subscriber, alarms: bool = True) -> Topic:
        """Declare where people are told, with the options that `help(Topic)` tells."""
        made = Topic(caller(), name, subscribers, alarms=alarms)
        self.topics.append(made)
        return made

    @overload
    def task(self, function: Callable[[Any], Any]) -> Task: ...

    @overload
    def task(
        self, *, name: str = "", timeout_s: float = 30, memory_mb: int = 512,
        env: Mapping[str, str | Env] | None = None, secrets: Sequence[Secret] = (),
    ) -> Callable[[Callable[[Any], Any]], Task]: ...  # fmt: skip

    def task(self, function: Callable[[Any], Any] | None = None, **options: Any) -> Any:
        """Declare a function that workflows call, as `@app.task` or `@app.task(timeout_s=60)`; see `help(Task)`."""

        def declared(function: Callable[[Any], Any]) -> Task:
            made = Task(function, **options)
            self.tasks.append(made)
            return made

        return declared if function is None else declared(function)

    def workflow(
        self, name: str, definition: Definition, *, express: bool = False, timeout_s: int | None = None,
        description: str = "",
    ) -> Workflow:  # fmt: skip
        """Declare a workflow, by its steps or as a document in Amazon States Language; see `help(Workflow)`."""
        made = Workflow(name, definition, express=express, timeout_s=timeout_s, description=description)
        self.workflows.append(made)
        return made

    def schedule(
        self, name: str, expression: str, workflow: str | Workflow, *, input: Any = None, timezone: str = "UTC"
    ) -> Schedule:
        """Declare when a workflow is started by the clock; see `help(Schedule)`."""
        made = Schedule(name, expression, workflow, input=input, timezone=timezone)
        self.schedules.append(made)
        return made

    def table(self, name: str, *, key: str, sort: str | None = None) -> Table:
        """Declare where workflows keep items of their own; see `help(Table)`."""
        made = Table(caller(), name, key=key, sort=sort)
        self.tables.append(made)
        return made

    def include(self, other: App) -> None:
        """Take over everything that another app declares, so that one app can be written in several files."""
        self.channels.extend(other.channels)
        self.topics.extend(other.topics)
        self.tasks.extend(other.tasks)
        self.workflows.extend(other.workflows)
        self.schedules.extend(other.schedules)
        self.tables.extend(other.tables)

    if not TYPE_CHECKING:  # a type checker would take any name for good

        def __getattr__(self, name: str) -> Any:
            refuse_name(name)
            public = [known for known in dir(self) if not known.startswith("_")]
            raise AttributeError(f"an App has no `{name}`{_meant(name, public)}")

    def check(self) -> None:
        """Raise DeclarationError with every fault, in the order of the declarations, unless there is none."""
        if faults := list(self._faults()):
            raise DeclarationError(*faults)

    def warnings(self) -> list[DeclarationFault]:
        """What is allowed but probably not meant."""
        return [warning for channel in self.channels for warning in channel.warnings()]

    def settings(self) -> Iterator[tuple[Channel | Topic | Task, Secret | Env]]:
        """Every setting that a channel, a topic or a task refers to."""
        for channel in self.channels:
            for needed in (*channel.needs.secrets, *channel.needs.env.values()):
                if isinstance(needed, Secret | Env):
                    yield channel, needed
        yield from self.auth_settings()
        for topic in self.topics:
            for setting in topic.settings():
                yield topic, setting
        for task in self.tasks:
            for setting in task.settings():
                yield task, setting

    def auth_settings(self) -> Iterator[tuple[Channel, Secret | Env]]:
        """Those of them that the auth of a channel refers to."""
        for channel in self.channels:
            match channel.auth:
                case Jwt() | Signed() as auth:
                    for value in (getattr(auth, field.name) for field in fields(auth)):
                        for setting in value if isinstance(value, tuple) else (value,):
                            if isinstance(setting, Secret | Env):
                                yield channel, setting

    def _faults(self) -> Iterator[DeclarationFault]:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield DeclarationFault(self.where, f"app {self.name!r}: a name is 1 to 63 letters, digits and hyphens.")
        for sentence in misfits("", given(self, _TEXTS), _TEXTS):
            yield DeclarationFault(self.where, f"app {self.name!r}: {sentence}")
        for sentence in packaging_sentences(self.runtime, self.packaging):
            yield DeclarationFault(self.where, f"app {self.name!r}: {sentence}")
        yield from self._stage_faults()
        if not self.channels:
            yield DeclarationFault(self.where, "the app has no channel: declare one with app.channel(path, ...).")
        for at, channel in enumerate(self.channels):
            yield from channel.faults()
            for earlier in self.channels[:at]:
                if clash := _clash(earlier, channel):
                    yield DeclarationFault(channel.where, f"channel {channel.path}: {clash} ({earlier.where}).")
        for at, topic in enumerate(self.topics):
            yield from topic.faults()
            for named in self.topics[:at]:
                if named.name == topic.name:
                    yield DeclarationFault(topic.where, f"topic {topic.name!r}: the name is taken ({named.where}).")
        yield from self._workflow_faults()
        for pipeline in self.pipelines[:1]:
            yield from pipeline.faults(self.stages, self.topics)
        for further in self.pipelines[1:]:
            yield DeclarationFault(further.where, f"pipeline: an app has one ({self.pipelines[0].where}).")

    def _stage_faults(self) -> Iterator[DeclarationFault]:
        for at, declared in enumerate(self.stages):
            yield from declared.faults()
            for earlier in self.stages[:at]:
                if earlier.name == declared.name:
                    sentence = f"stage {declared.name}: it is declared already ({earlier.where})."
                    yield DeclarationFault(declared.where, sentence)

    def _workflow_faults(self) -> Iterator[DeclarationFault]:
        for task in self.tasks:
            yield from _said(f"task {task.name}", task.where, task.sentences())
        yield from _twice("task", self.tasks)
        names_of_channels = {channel.name for channel in self.channels}
        for table in self.tables:
            yield from _said(f"table {table.name}", table.where, table.sentences())
            if table.name in names_of_channels:
                sentence = f"table {table.name}: the name is taken by a channel, which has a table of its own on AWS."
                yield DeclarationFault(table.where, sentence)
        yield from _twice("table", self.tables)
        known = {
            "task": {task.name for task in self.tasks},
            "topic": {topic.name for topic in self.topics},
            "queue": {channel.name for channel in self.channels if channel.unread},
            "table": {table.name for table in self.tables},
        }
        tables = {table.name: table for table in self.tables}
        for workflow in self.workflows:
            yield from _said(f"workflow {workflow.name}", workflow.where, workflow.sentences(known, tables))
        yield from _twice("workflow", self.workflows)
        names = [workflow.name for workflow in self.workflows]
        express = {workflow.name for workflow in self.workflows if workflow.express}
        for channel in self.channels:
            if channel.start is not None and channel.start.workflow_name not in names:
                known_names = f"the app has {', '.join(names)}" if names else "declare it with app.workflow"
                sentence = f"there is no workflow {channel.start.workflow_name!r}; {known_names}."
                yield DeclarationFault(channel.where, f"channel {channel.path}: {sentence}")
            if channel.start is not None and channel.start.per_batch and channel.start.workflow_name in express:
                sentence = 'Start `per="batch"` needs a workflow that is not Express, which may start a batch twice.'
                yield DeclarationFault(channel.where, f"channel {channel.path}: {sentence}")
        for schedule in self.schedules:
            yield from _said(f"schedule {schedule.name}", schedule.where, schedule.sentences(names))
        yield from _twice("schedule", self.schedules)


def _said(what: str, where: str, sentences: Iterable[str]) -> Iterator[DeclarationFault]:
    return (DeclarationFault(where, f"{what}: {sentence}") for sentence in sentences)


def _twice(what: str, declared: Sequence[Task | Workflow | Schedule | Table]) -> Iterator[DeclarationFault]:
    """A fault for each name that is taken already."""
    first: dict[str, str] = {}
    for one in declared:
        if one.name in first:
            yield DeclarationFault(one.where, f"{what} {one.name}: the name is taken by another ({first[one.name]}).")
        first.setdefault(one.name, one.where)


def _clash(one: Channel, two: Channel) -> str | None:
    if isinstance(one.auth, Iam) and isinstance(two.auth, Iam) and one.auth.region != two.auth.region:
        return "an app is in one region, and another channel says auth=Iam() with another"
    if not isinstance(one.path, str) or not isinstance(two.path, str):
        return None
    if one.path == two.path:
        return "the path is taken by another channel"
    if one.name == two.name:
        return f"the name {one.name!r} is taken by another channel"
    for outer, inner in ((one, two), (two, one)):
        below = outer.path.rstrip("/") + "/"
        key, _, rest = inner.path.removeprefix(below).partition("/")
        if outer.read and inner.path.startswith(below) and key and rest in ("", "timeline"):
            return f"{inner.path} overlaps with the messages that are read under {below}{{key}}"
    return None
