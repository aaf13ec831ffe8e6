"""The steps of a workflow, as values: `from headgate import workflow as w`. They compile to Amazon States Language.

    w.chain(
        w.poll(collect, until=w.value("$.results").is_true(), every_s=10, most=20),
        w.for_each("$.orders", w.task(settle, catch=[w.catch(then=w.notify("alerts", "{$.error.Cause}"))])),
        w.succeed(),
    )

Every step is handed JSON and hands on JSON: a task its result, `notify`, `save` and `wait` what they were handed. What
is taken from it is named by a path, `"$.order.id"`; within a text by a path in braces, `"orders/{$.id}.json"`. Within
an `input=` every text that begins with `$` or `States.` is taken for a path or an intrinsic function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from headgate.clock import isoformat
from headgate.declare.source import caller
from headgate.errors import DeclarationError, DeclarationFault

Function = Callable[..., Any] | str
Template = Any
"""JSON in which texts may be paths."""


# ------------------------------------------------------------------------------------------------------- conditions


@dataclass(frozen=True, slots=True)
class Condition:
    """What a choice asks; `a & b`, `a | b` and `~a` are conditions too."""

    rule: Mapping[str, Any]

    def __and__(self, other: Condition) -> Condition:
        return Condition({"And": [self.rule, other.rule]})

    def __or__(self, other: Condition) -> Condition:
        return Condition({"Or": [self.rule, other.rule]})

    def __invert__(self) -> Condition:
        return Condition({"Not": self.rule})

    def __bool__(self) -> bool:
        raise refused("a condition is asked when the workflow runs; join conditions with & and |, not `and` and `or`")


class Value:
    """A place in what a step is handed; comparing it makes a condition, as in `value("$.amount") > 100`."""

    __slots__ = ("path",)
    __hash__ = None  # type: ignore[assignment] # a comparison is a condition, so it can be in no set

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compared("Equals", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return ~(self == other)

    def __lt__(self, other: object) -> Condition:
        return self._compared("LessThan", other)

    def __le__(self, other: object) -> Condition:
        return self._compared("LessThanEquals", other)

    def __gt__(self, other: object) -> Condition:
        return self._compared("GreaterThan", other)

    def __ge__(self, other: object) -> Condition:
        return self._compared("GreaterThanEquals", other)

    def is_true(self) -> Condition:
        """Whether it is `true`."""
        return self._compared("Equals", True)

    def is_false(self) -> Condition:
        """Whether it is `false`."""
        return self._compared("Equals", False)

    def is_null(self) -> Condition:
        """Whether it is `null`."""
        return Condition({"Variable": self.path, "IsNull": True})

    def matches(self, pattern: str) -> Condition:
        """Whether it is a text like `"order-*.json"`."""
        return Condition({"Variable": self.path, "StringMatches": pattern})

    def present(self) -> Condition:
        """Whether there is anything at this place."""
        return Condition({"Variable": self.path, "IsPresent": True})

    def _compared(self, how: str, other: object) -> Condition:
        match other:
            case bool() if how == "Equals":
                return Condition({"Variable": self.path, "BooleanEquals": other})
            case int() | float() if not isinstance(other, bool):
                return Condition({"Variable": self.path, f"Numeric{how}": other})
            case str():
                return Condition({"Variable": self.path, f"String{how}": other})
            case datetime() if other.tzinfo is not None:
                return Condition({"Variable": self.path, f"Timestamp{how}": _timestamp(other)})
            case _:
                raise refused(f"{self.path} can be compared with text, a number, True or a time with its zone")


def value(path: str) -> Value:
    """The place that `path` names."""
    return Value(path)


# ------------------------------------------------------------------------------------------------------------ errors


@dataclass(frozen=True, slots=True)
class Retry:
    """See `retry`."""

    errors: tuple[str, ...]
    attempts: int
    after_s: int
    backoff: float
    most_s: int | None
    jitter: bool


@dataclass(frozen=True, slots=True)
class Catch:
    """See `catch`."""

    errors: tuple[str, ...]
    then: Step
    result: str | None


def retry(
    *errors: str, attempts: int = 3, after_s: int = 1, backoff: float = 2.0, most_s: int | None = None,
    jitter: bool = False,
) -> Retry:  # fmt: skip
    """Try again when one of `errors` came (all, where none is said), up to `attempts` times: first after `after_s`
    seconds, then `backoff` times as long each time, but no longer than `most_s`."""
    return Retry(errors or ("States.ALL",), attempts, after_s, backoff, most_s, jitter)


def catch(*errors: str, then: Step, result: str | None = "$.error") -> Catch:
    """When one of `errors` came (all, where none is said), and retries did not help, go on with `then`, and after it
    with what follows. The error lies at `result`, with its `Error` and `Cause`; with None nowhere."""
    return Catch(errors or ("States.ALL",), then, result)


# ------------------------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class Call:
    """See `task`."""

    function: str
    input: Template
    select: Template
    result: str | None
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    timeout_s: int | None
    name: str


@dataclass(frozen=True, slots=True)
class When:
    """See `when`."""

    condition: Condition
    then: Step


@dataclass(frozen=True, slots=True)
class Choice:
    """See `choice`."""

    whens: tuple[When, ...]
    otherwise: Step | None
    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """See `wait`. `field` is that of the state."""

    field: Literal["Seconds", "SecondsPath", "Timestamp", "TimestampPath"]
    value: int | str
    name: str


@dataclass(frozen=True, slots=True)
class Poll:
    """See `poll`."""

    call: Call
    until: Condition
    every_s: int
    most: int
    give_up: Step
    name: str


@dataclass(frozen=True, slots=True)
class ForEach:
    """See `for_each`."""

    items: str
    step: Step
    input: Template
    result: str | None
    at_a_time: int
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Parallel:
    """See `parallel`."""

    branches: tuple[Step, ...]
    result: str | None
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Notify:
    """See `notify`."""

    topic: str
    message: Template
    subject: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Save:
    """See `save`."""

    archive: str
    key: str
    body: Template
    name: str


@dataclass(frozen=True, slots=True)
class Give:
    """See `give`."""

    value: Template
    result: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """See `chain`."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Succeed:
    """See `succeed`."""

    name: str


@dataclass(frozen=True, slots=True)
class Fail:
    """See `fail`."""

    error: str
    cause: str
    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """See `number`."""

    path: str


@dataclass(frozen=True, slots=True)
class Json:
    """See `json`."""

    path: str


@dataclass(frozen=True, slots=True)
class Send:
    """See `send`."""

    channel: str
    message: Template
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Put:
    """See `put`."""

    table: str
    item: Item
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Get:
    """See `get`."""

    table: str
    key: Item
    result: str | None
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Update:
    """See `update`."""

    table: str
    key: Item
    set: Item
    add: Item
    retry: tuple[Retry, ...]
    catch: tuple[Catch, ...]
    name: str


Item = Mapping[str, str | int | float | bool | Number | Json]
"""What is kept under the names of attributes: text, in which paths may stand, numbers, True and False."""

Caught = Call | ForEach | Parallel | Send | Put | Get | Update
"""Steps of which errors are retried and caught."""

Step = Caught | Choice | Wait | Poll | Notify | Save | Give | Chain | Succeed | Fail


def task(
    function: Function, *, input: Template = None, result: str | None = "$", select: Template = None,
    retry: Sequence[Retry] = (), catch: Sequence[Catch] = (), timeout_s: int | None = None, name: str = "",
) -> Call:  # fmt: skip
    """Call a task: a function declared with `app.task`, or its name.

    It is handed `input`, or what the step is handed. What it returns, or what `select` takes of it, lies at `result`:
    `"$"` in the place of what was handed in, `"$.x"` beside it, None nowhere.
    """
    called = _task_name(function)
    return Call(called, input, select, result, tuple(retry), tuple(catch), timeout_s, name or called)


def when(condition: Condition, then: Step) -> When:
    """A branch of a `choice`."""
    return When(condition, then)


def choice(*whens: When, otherwise: Step | None = None, name: str = "choose") -> Choice:
    """The first branch whose condition holds, else `otherwise`; then what follows."""
    if not whens:
        raise refused("a choice needs branches: w.choice(w.when(condition, step), ...)")
    return Choice(whens, otherwise, name)


def wait(seconds: int | str | None = None, *, until: datetime | str | None = None, name: str = "wait") -> Wait:
    """Wait so many seconds, or until a time; either may be a path to it."""
    match seconds, until:
        case int(), None if not isinstance(seconds, bool):
            return Wait("Seconds", seconds, name)
        case str(), None:
            return Wait("SecondsPath", seconds, name)
        case None, str():
            return Wait("TimestampPath", until, name)
        case None, datetime() if until.tzinfo is not None:
            return Wait("Timestamp", _timestamp(until), name)
        case _:
            raise refused("say either seconds or until=, a time with its zone, or a path to one of them")


def poll(
    function: Function, *, until: Condition, every_s: int, most: int, input: Template = None,
    give_up: Step | None = None, retry: Sequence[Retry] = (), catch: Sequence[Catch] = (),
    timeout_s: int | None = None, name: str = "",
) -> Poll:  # fmt: skip
    """Call a task again and again, `every_s` seconds after it returned, until `until` holds for its result, which is
    then handed on; at most `most` times in all. Then `give_up` is handed the last result; without one, the workflow
    fails with the error `Poll.GaveUp`. Each call is handed the same. What a `catch` goes on with is handed the error.
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise refused("a poll needs most=, a whole number of times from 1 up")
    named = name or _task_name(function)
    call = task(function, input=input, retry=retry, catch=catch, timeout_s=timeout_s, name=named)
    told = f"{call.function} was called {most} times, and never returned what was waited for."
    return Poll(call, until, every_s, most, give_up or fail("Poll.GaveUp", told, name=f"{named}: give up"), named)


def for_each(
    items: str, step: Step, *, input: Template = None, result: str | None = "$", at_a_time: int = 0,
    retry: Sequence[Retry] = (), catch: Sequence[Catch] = (), name: str = "for each",
) -> ForEach:  # fmt: skip
    """Run `step` for each item of the list at the path `items`, `at_a_time` at once (0: as many as can be).

    It is handed the item, or `input`, in which `$$.Map.Item.Value` is the item. The list of results lies at `result`.
    """
    return ForEach(items, step, input, result, at_a_time, tuple(retry), tuple(catch), name)


def parallel(
    *branches: Step, result: str | None = "$", retry: Sequence[Retry] = (), catch: Sequence[Catch] = (),
    name: str = "parallel",
) -> Parallel:  # fmt: skip
    """Run all branches at once, each handed the same. The list of their results lies at `result`."""
    if not branches:
        raise refused("parallel needs branches: w.parallel(step, step, ...)")
    return Parallel(branches, result, tuple(retry), tuple(catch), name)


def notify(topic: str | Any, message: Template, *, subject: str | None = None, name: str = "notify") -> Notify:
    """Tell a topic: text, which may hold paths in braces, or a template of JSON."""
    return Notify(_name_of(topic), message, subject, name)


def save(archive: str | Any, key: str, body: Template = "$", *, name: str = "save") -> Save:
    """Put `body` into an archive under `key`, in which paths stand in braces, as in `"{$.id}.json"`."""
    return Save(_name_of(archive), key, body, name)


def send(
    channel: str | Any, message: Template = "$", *, retry: Sequence[Retry] = (), catch: Sequence[Catch] = (),
    name: str = "send",
) -> Send:  # fmt: skip
    """Send a message to a channel of the app that lets messages in unread, `Queued(validate="worker")`: it is worked
    off as if it had been posted, its id is made."""
    return Send(_name_of(channel), message, tuple(retry), tuple(catch), name)


def put(
    table: str | Any, item: Item, *, retry: Sequence[Retry] = (), catch: Sequence[Catch] = (), name: str = "put",
) -> Put:  # fmt: skip
    """Put an item into a table, in the place of one with the same key. A path stands for a text; see `number` and
    `json`."""
    return Put(_name_of(table), item, tuple(retry), tuple(catch), name)


def get(
    table: str | Any, key: Item, *, result: str | None = "$", retry: Sequence[Retry] = (), catch: Sequence[Catch] = (),
    name: str = "get",
) -> Get:  # fmt: skip
    """Look an item up. What is found lies at `result` as DynamoDB gives it, `$.Item.id.S`; without an item there is no
    `$.Item`."""
    return Get(_name_of(table), key, result, tuple(retry), tuple(catch), name)


def update(
    table: str | Any, key: Item, *, set: Item | None = None, add: Item | None = None, retry: Sequence[Retry] = (),
    catch: Sequence[Catch] = (), name: str = "update",
) -> Update:  # fmt: skip
    """Change an item, or make one of that key: `set` attributes to values, `add` numbers to them."""
    if not set and not add:
        raise refused("an update changes something: say set={...} or add={...}")
    for name, value in (add or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float | Number):
            raise refused(f"add={{...}} adds numbers: for {name} say one, or the path to one as w.number(path)")
    return Update(_name_of(table), key, set or {}, add or {}, tuple(retry), tuple(catch), name)


def number(path: str) -> Number:
    """The number at a path, for an item of a table."""
    return Number(path)


def json(path: str) -> Json:
    """What lies at a path, whatever it is, as JSON text for an item of a table."""
    return Json(path)


def give(value: Template, *, result: str | None = "$", name: str = "give") -> Give:
    """Hand on `value`, in the place of what was handed in, or with `result="$.x"` beside it."""
    return Give(value, result, name)


def chain(*steps: Step) -> Chain:
    """One step after the other."""
    if not steps:
        raise refused("a chain needs steps: w.chain(step, step, ...)")
    return Chain(steps)


def succeed(*, name: str = "succeed") -> Succeed:
    """End the workflow, or the branch or item that is in work, well."""
    return Succeed(name)


def fail(error: str, cause: str = "", *, name: str = "fail") -> Fail:
    """End the workflow with an error. `cause` may hold paths in braces."""
    return Fail(error, cause, name)


def _task_name(function: Function) -> str:
    return function if isinstance(function, str) else str(getattr(function, "name", getattr(function, "__name__", "")))


def _name_of(declared: Any) -> str:
    return str(declared if isinstance(declared, str) else declared.name)


def _timestamp(at: datetime) -> str:
    return isoformat(round(at.timestamp() * 1000))


def refused(sentence: str) -> DeclarationError:
    """What is wrong with a step, where it was written."""
    return DeclarationError(DeclarationFault(caller(), f"{sentence}."))
