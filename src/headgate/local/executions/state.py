"""The whole state of an execution, as plain data that goes to the store and comes back as it was.

An execution is a tree of branches. The root stands in the states of the document; a Parallel or Map state has one
child branch for each of its branches or items. A branch stands in one state, in one phase of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple

Status = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
Kind = Literal["STANDARD", "EXPRESS"]

# queued    an iteration that waits for its turn
# ready     about to enter its state, or to begin the next attempt
# waiting   for `due_ms`
# task      for the outcome of what it asked for
# children  for its child branches
# done      its `output` is there
# failed    nothing caught its error; a redrive begins here
Phase = Literal["queued", "ready", "waiting", "task", "children", "done", "failed"]

ROOT = 0
_HALF = re.compile("[\ud800-\udfff]")  # no UTF-8 has it, and so no column of the store


class Fault(Exception):
    """What a state fails with: the name and the cause AWS gives.

    `evaluation`: an expression failed, in the field `location`. `outside`: what was asked for failed, or a Fail state
    said so; its cause is told as it is.
    """

    def __init__(
        self,
        error: str | None,
        cause: str | None,
        *,
        location: str | None = None,
        evaluation: bool = False,
        outside: bool = False,
    ) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause
        self.location = location
        self.evaluation = evaluation
        self.outside = outside


@dataclass(slots=True)
class Branch:
    """One line of control. Everything here is JSON."""

    id: int
    parent: int = -1
    index: int = 0  # which branch or item of its parent's state
    machine: list[str | int] = field(default_factory=list)  # keys from the document to the machine it runs
    state: str = ""
    phase: Phase = "ready"
    input: Any = None  # of the state, before InputPath
    variables: dict[str, Any] = field(default_factory=dict)  # of its own scope; the parents' are seen too
    apart: bool = False  # within a DISTRIBUTED Map: its events are in no history
    has_item: bool = False
    item: Any = None  # of a Map state: the context object's Map.Item.Value
    entered_event: int = 0  # 0 until the state was entered
    entered_ms: int = 0
    retries: list[int] = field(default_factory=list)  # how often each retrier was used
    retry_count: int = 0
    attempt: int = 0  # the event that asked for what it waits for; an outcome for another one is late
    asked: list[Any] = field(default_factory=list)  # what a Task asked with, where that is not its input
    due_ms: int | None = None
    by_wall: bool = False  # whether `due_ms` is a moment of the calendar, rather than the end of a duration
    last_event: int = 0
    output: Any = None
    error: list[str | None] = field(default_factory=list)  # error and cause, when failed
    first: int = 0  # id of the first child; the others follow
    total: int = 0  # children
    begun: int = 0  # children that are no longer queued; they begin in order
    ended: int = 0
    failures: int = 0  # that were tolerated
    tolerated: float = 0  # how many may fail

    def to_json(self) -> str:
        kept = {
            each.name: value
            for each in fields(self)
            if each.name != "id" and (value := getattr(self, each.name)) != _DEFAULTS[each.name]
        }
        return text(kept)


def branch_from_json(id: int, data: str) -> Branch:
    return Branch(id, **json.loads(data))


_DEFAULTS: dict[str, Any] = {
    each.name: each.default if each.default is not MISSING else each.default_factory()  # type: ignore[operator]
    for each in fields(Branch)
    if each.name != "id"
}


@dataclass(slots=True)
class Run:
    """An execution, its branches aside."""

    seq: int
    arn: str
    machine: str
    name: str
    kind: Kind
    input: str  # the JSON text it was started with
    started_ms: int
    status: Status = "RUNNING"
    stopped_ms: int | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    deadline_ms: int | None = None
    next_event: int = 1
    next_branch: int = 1
    redrives: int = 0
    redriven_ms: int | None = None


class Event(NamedTuple):
    """A line of the history, as GetExecutionHistory tells it: `details` has the name AWS gives it."""

    id: int
    previous: int
    ms: int
    type: str
    details: dict[str, Any]


class Invocation(NamedTuple):
    """What is to be done outside. `token` is the same when it is asked for again after a crash."""

    seq: int
    branch: int
    attempt: int
    token: str
    resource: str
    arguments: Any
    timeout_ms: int | None


class Begin(NamedTuple):
    """The execution starts."""


class Advance(NamedTuple):
    """A branch that is ready goes on."""

    branch: int


class Outcome(NamedTuple):
    """What an invocation came to: a result, or an error with its cause."""

    branch: int
    attempt: int
    result: Any = None
    error: str | None = None
    cause: str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None


class Due(NamedTuple):
    """The time a branch waited for, or had, has come."""

    branch: int


class Deadline(NamedTuple):
    """The time the whole execution had has passed."""


class Stop(NamedTuple):
    """Someone stops it."""

    error: str | None = None
    cause: str | None = None


class Redrive(NamedTuple):
    """Someone lets it go on from where it failed."""


Stimulus = Begin | Advance | Outcome | Due | Deadline | Stop | Redrive


class Moment(NamedTuple):
    """What a step is told of the world: the time, and randomness that it may use."""

    now_ms: int
    seed: int


class Step(NamedTuple):
    """What one stimulus changes: written in one transaction, then carried out."""

    run: Run
    branches: dict[int, Branch | None]  # changed ones; None where it is no longer needed
    events: list[Event]
    invocations: list[Invocation]
    ready: list[int]  # branches that can go on at once


def text(value: Any) -> str:
    """JSON as Step Functions writes it: no spaces, every character itself, but for half a surrogate pair.

    Raises ValueError for what is not JSON, such as a number that is none.
    """
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if written.isascii() or not _HALF.search(written):
        return written
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def size_bytes(value: Any) -> int:
    return len(text(value).encode())
