"""One attempt at a message, from its stored bytes to a report. This runs where the handler runs, in a process of its
own under the local engine, and reaches for nothing but the user's function."""

from __future__ import annotations

import errno
import inspect
import json
import math
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic_core import ValidationError

from headgate import limits
from headgate.clock import Clock
from headgate.declare.channel import Channel
from headgate.declare.handler import Handler
from headgate.declare.model import sent_fields
from headgate.declare.verdict import Done, Failed, Permanent, Retry
from headgate.gate.faults import faults_of
from headgate.gate.observe import site
from headgate.message import Message

if TYPE_CHECKING:
    import asyncio

UNFIT = "The message does not fit the channel's model any more"
BROKE = "The handler failed."
GIVEN_UP = "The handler gave it up."
ASKED = "The handler asked for another attempt."


class Report(NamedTuple):
    """How an attempt went. `detail` may be shown to senders; `kind`, `pointer`, `told` and `where` may not.

    `delay_s` is what the handler asked for before the next attempt, None where it left that to the backoff. `spent`
    says that the process it ran in has no memory or no files left: others would fail there for no fault of theirs.
    """

    ending: Literal["done", "retry", "failed"]
    took_ms: int = 0
    detail: str = ""
    kind: str = ""
    pointer: str = ""
    told: str = ""
    where: str = ""
    delay_s: float | None = None
    spent: bool = False

    def tidied(self) -> Report:
        """With texts that can be stored, whatever a user's function made of them; what is too long loses its end, a
        traceback its beginning."""
        most = limits.TRACEBACK.value
        detail, kind, pointer, told = (_plain(text) for text in (self.detail, self.kind, self.pointer, self.told))
        return self._replace(detail=detail[:most], kind=kind[:most], pointer=pointer[:most], told=told[-most:])


DONE = Report("done")


class Handling:
    """A handler of a channel, ready to be called. Not for several threads."""

    def __init__(self, channel: Channel, handler: Handler, clock: Clock) -> None:
        self._clock = clock
        self._validator = channel.validator
        self._timeout_ms = round(1000 * channel.needs.timeout_s)
        self._function: Callable[..., Any] = handler.function
        self._takes_message = handler.takes_message
        self._in_lists = channel.needs.batch > 1
        self._stamp = {name: value for name, value in channel.stamp.items() if _shows(channel.model, name)}
        self._runner: asyncio.Runner | None = None

    def handle(self, messages: Sequence[Message]) -> list[Report]:
        """Make one attempt at each; more than one only where the handler takes lists. Raises nothing."""
        values: list[Any] = []
        reports: list[Report | None] = []
        for message in messages:
            try:
                values.append(self._value(message))
                reports.append(None)
            except ValidationError as error:
                reports.append(_unfit(error, message.body))
            except BaseException as error:  # noqa: BLE001 - a validator of the user's
                reports.append(_failed(error))
        fit = [message for message, report in zip(messages, reports, strict=True) if report is None]
        rest = iter(self._called(values, fit) if fit else ())
        return [(report or next(rest)).tidied() for report in reports]

    def close(self) -> None:
        """Let go of the event loop that async handlers ran on."""
        if self._runner is not None:
            self._runner.close()

    def _value(self, message: Message) -> Any:
        body = message.body
        if self._stamp and body.startswith(b"{"):
            # Of two fields of one name the last one counts, for pydantic as for json.
            stamps = {name: _stamped(value, message) for name, value in self._stamp.items()}
            body = b"%b%b%b" % (body[:-1], b"," if body[1:-1].strip() else b"", json.dumps(stamps).encode()[1:])
        if self._validator is None:
            return json.loads(body)
        return self._validator.validate_json(body, strict=True)

    def _called(self, values: list[Any], messages: list[Message]) -> list[Report]:
        began_s = self._clock.elapsed_s()
        try:
            reports = self._verdicts(values, messages)
        except BaseException as error:  # noqa: BLE001 - text that a verdict was made of, and that cannot be had
            reports = [_failed(error)] * len(messages)
        took_ms = round((self._clock.elapsed_s() - began_s) * 1000)
        return [report._replace(took_ms=took_ms) for report in reports]

    def _verdicts(self, values: list[Any], messages: list[Message]) -> list[Report]:
        try:
            answer = self._call(values, messages)
        except BaseException as error:  # noqa: BLE001 - it is the user's, and what it means is decided here
            report = _raised(error)
            if len(messages) > 1 and report.ending == "failed":  # a Permanent, and nobody knows of which message
                report = report._replace(ending="retry", detail=BROKE)
            return [report] * len(messages)
        return _verdicts(answer, len(messages)) if self._in_lists else [_report(answer)]

    def _call(self, values: list[Any], messages: list[Message]) -> Any:
        deadline_ms = self._clock.now_ms() + self._timeout_ms
        messages = [message._replace(deadline_ms=deadline_ms) for message in messages]
        arguments: tuple[Any, ...] = (values, messages) if self._in_lists else (values[0], messages[0])
        answer = self._function(*arguments[: 1 + self._takes_message])
        if not inspect.isawaitable(answer):
            return answer
        if self._runner is None:
            import asyncio  # few handlers need it, and it takes a while

            self._runner = asyncio.Runner()
        answer, error = self._runner.run(_awaited(answer))
        if error is not None:
            raise error
        return answer


async def _awaited(answer: Any) -> tuple[Any, BaseException | None]:
    """What it gives or raises. Of what ends more than a task (a cancellation, sys.exit()) the loop knows nothing."""
    try:
        return await answer, None
    except BaseException as error:  # noqa: BLE001 - raised by the caller
        return None, error


def _shows(model: Any, name: str) -> bool:
    """Whether a handler would see a field that is stamped on."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return True
    return model.model_config.get("extra") == "allow" or name in sent_fields(model)


def _stamped(value: Any, message: Message) -> Any:
    if not callable(value):
        return value
    return value(message) if inspect.signature(value).parameters else value()


def _verdicts(answer: Any, expected: int) -> list[Report]:
    """What a handler of lists says of each. Anything but one verdict a message is a mistake, and nothing is done."""
    if answer is None:
        return [DONE] * expected
    if isinstance(answer, list | tuple) and len(answer) == expected and all(map(_is_verdict, answer)):
        return [_report(verdict) for verdict in answer]
    what = f"{len(answer)} items" if isinstance(answer, list | tuple) else type(answer).__name__
    told = f"It answered with {what} for {expected} messages; answer with None, or a list of one verdict each."
    return [Report("retry", detail=BROKE, kind="BadAnswer", told=told)] * expected


def _is_verdict(value: Any) -> bool:
    return value is None or isinstance(value, Done | Retry | Failed | Permanent)


def _report(verdict: Any) -> Report:
    """What a handler returned; what is no verdict is none."""
    match verdict:
        case BaseException():
            return _raised(verdict)
        case type() if issubclass(verdict, Retry | Permanent):
            return _raised(verdict())
        case Failed(reason):
            return Report("failed", detail=str(reason) or GIVEN_UP, kind="Failed")
        case _:
            return DONE


def _raised(error: BaseException) -> Report:
    match error:
        case Retry(delay_s=None):
            return Report("retry", kind="Retry", detail=ASKED)
        case Retry(delay_s=int() | float() as delay_s) if not math.isnan(delay_s):
            return Report("retry", kind="Retry", detail=ASKED, delay_s=min(max(0.0, delay_s), limits.RETRY_DELAY.value))
        case Retry(delay_s=given):
            told = f"It said Retry({given!r}); a Retry takes a number of seconds."
            return Report("retry", detail=BROKE, kind="BadAnswer", told=told)
        case Permanent(reason=reason):
            return _failed(error)._replace(ending="failed", detail=str(reason) or GIVEN_UP)
        case _:
            return _failed(error)


def _failed(error: BaseException) -> Report:
    told, where = _traceback(error), site(error)
    return Report("retry", detail=BROKE, kind=type(error).__name__, told=told, where=where, spent=is_spent(error))


def is_spent(error: BaseException) -> bool:
    """Whether the process is at an end that comes slowly: what leaks memory or files works for a long time."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.EMFILE)


def _unfit(error: ValidationError, body: bytes) -> Report:
    """Trying again cannot help; but a person, or an older version of the app, can."""
    try:
        first = faults_of(error, json.loads(body), "")[0]
    except ValueError:  # somebody else has put it into the stream
        return Report("failed", detail=f"{UNFIT}: it is no JSON.", kind="Unfit")
    at = f" at {first.pointer}" if first.pointer else ""
    return Report("failed", detail=f"{UNFIT}{at}: {first.detail}.", kind="Unfit", pointer=first.pointer)


def _traceback(error: BaseException) -> str:
    """As Python shows it, but beginning with the user's code; if it is long, its end."""
    error = error.with_traceback(_of_the_user(error.__traceback__))
    return "".join(traceback.format_exception(error)).removeprefix("Traceback (most recent call last):\n")


def _of_the_user(frames: TracebackType | None) -> TracebackType | None:
    inner = frames
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    return inner or frames


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
