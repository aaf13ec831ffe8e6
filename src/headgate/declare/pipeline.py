"""A pipeline: what deploys an app on AWS whenever somebody pushes, stage by stage, and itself first of all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from headgate.declare.settings import Env
from headgate.declare.shape import SETTING, TEXT, TEXTS, Shape, given, misfits
from headgate.declare.stage import DEFAULT_STAGE, Stage
from headgate.declare.stage import stage as current_stage
from headgate.declare.topic import Topic
from headgate.errors import DeclarationFault

_ARN = re.compile(r"arn:aws[a-z-]*:(codestar-connections|codeconnections):[a-z0-9-]+:\d{12}:connection/[0-9a-f-]+")
_OWNED = re.compile(r"[\w.-]+(/[\w.-]+)+")
_HOSTED = re.compile(r"[\w.-]{1,100}")
_FOLDER = re.compile(r"[\w-][\w./-]*|\.")
_CONNECTED = {"repository": TEXT, "connection": SETTING, "branch": TEXT}
_HELD = {"repository": TEXT, "branch": TEXT}
_MAYBE_TEXTS = Shape('a list of texts, as in ["pytest tests"]', lambda value: value is None or TEXTS.fits(value))
_PIPELINE = {"stages": TEXTS, "approve": TEXTS, "folder": TEXT, "checks": TEXTS, "install": _MAYBE_TEXTS}


@dataclass(frozen=True, slots=True)
class Connection:
    """A repository at GitHub, GitLab or Bitbucket, as in `acme/orders`. `connection` is the ARN of the connection that
    was made to it in the console of AWS (Developer Tools, Settings, Connections)."""

    repository: str
    connection: str | Env
    branch: str = "main"

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Connection ", given(self, _CONNECTED), _CONNECTED)):
            yield from wrong
            return
        if not _OWNED.fullmatch(self.repository):
            yield f"Connection: {self.repository!r} is no repository; say its owner too, as in acme/orders."
        if isinstance(self.connection, str) and not _ARN.fullmatch(self.connection):
            yield f"Connection: {self.connection!r} is not the ARN of a connection."
        if not isinstance(self.connection, str | Env):
            yield 'Connection: its ARN is text or Env("NAME"), no secret.'


@dataclass(frozen=True, slots=True)
class CodeCommit:
    """A repository in CodeCommit, in the account and region of the pipeline."""

    repository: str
    branch: str = "main"

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("CodeCommit ", given(self, _HELD), _HELD)):
            yield from wrong
        elif not _HOSTED.fullmatch(self.repository):
            yield f"CodeCommit: {self.repository!r} is no name of a repository."


@dataclass(frozen=True)
class Pipeline:
    """What `App.pipeline` declares. Behind the semicolon stands what is taken if left out.

    - `source`: `Connection("acme/orders", ARN)` or `CodeCommit("orders")`
    - `stages`: which are deployed, in this order, as in `["dev", "prod"]`
    - `approve`: those of them before which somebody has to say yes; none
    - `topic`: who is told when a run fails. The topic is made once more, beside the pipeline; nobody
    - `folder`: where the app is in the repository; its top
    - `checks`: commands that have to succeed before anything is deployed, as in `["pytest tests"]`; none
    - `install`: commands that bring `headgate` and what the app imports, in place of ours; see docs/guide/pipeline.md
    """

    source: Connection | CodeCommit
    stages: tuple[str, ...] | list[str]
    approve: tuple[str, ...] | list[str] = ()
    topic: Topic | None = None
    folder: str = "."
    checks: tuple[str, ...] | list[str] = ()
    install: tuple[str, ...] | list[str] | None = None
    where: str = field(default="", compare=False, kw_only=True)

    def settings(self) -> Iterator[Env]:
        """Every setting that it refers to."""
        if isinstance(self.source, Connection) and isinstance(self.source.connection, Env):
            yield self.source.connection

    def faults(self, declared: Iterable[Stage], topics: Iterable[Topic]) -> Iterator[DeclarationFault]:
        """Everything about it that cannot be honoured, in an app with these stages and topics."""
        for sentence in self._sentences({stage.name for stage in declared}, list(topics)):
            yield DeclarationFault(self.where, f"pipeline: {sentence}")

    def _sentences(self, declared: set[str], topics: list[Topic]) -> Iterator[str]:
        if wrong := list(misfits("", given(self, _PIPELINE), _PIPELINE)):
            yield from wrong
            return
        if isinstance(self.source, Connection | CodeCommit):
            yield from self.source.sentences()
        else:
            yield "`source=` is a Connection(repository, arn) or a CodeCommit(repository)."
        if not self.stages or len({*self.stages}) < len(self.stages):
            yield '`stages=` names each stage that is deployed once, in their order, as in ["dev", "prod"].'
        by_run = declared == {current_stage()}  # as in app.stage(stage(), ...): each run declares its own
        for name in self.stages:
            if declared and not by_run and name not in (*declared, DEFAULT_STAGE):
                yield f"`stages=` has {name!r}; the app has {', '.join(sorted(declared))}."
        for name in self.approve:
            if name not in self.stages:
                yield f"`approve=` has {name!r}, which is not among `stages=`."
        if self.topic is not None and not any(self.topic is one for one in topics):
            yield "`topic=` has to be a topic of the app, as app.topic(...) returns it."
        if not _FOLDER.fullmatch(self.folder) or ".." in self.folder.split("/"):
            yield f"`folder=` is {self.folder!r}; say one within the repository, as in services/orders."
