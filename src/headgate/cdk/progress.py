"""What the CDK CLI prints while it deploys, in one line for each resource, and why it failed in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_EVENT = re.compile(
    r"(?P<stack>\S+) \| +(?:(?P<done>\d+)(?:/(?P<all>\d+))? +\| +)?"
    r"[\d:]+ [AP]M \| (?P<status>[A-Z_]+) +\| (?P<kind>\S+) +\| (?P<rest>.+)"
)
_NAMED = re.compile(r"(?P<path>\S+) \((?P<id>\w+)\)(?: (?P<reason>.+))?")
_PLAIN = re.compile(r"(?P<path>\S+)(?: (?P<reason>.+))?")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_ENDED = re.compile(r"(.*): Subprocess exited with error (\d+)")

_VERBS = {"CREATE_COMPLETE": "created", "UPDATE_COMPLETE": "changed", "DELETE_COMPLETE": "removed"}
_NOT_THE_CAUSE = re.compile(r"cancelled|The following resource\(s\) failed", re.IGNORECASE)
_UNDER_WAY = {"CREATE_IN_PROGRESS": "creating", "UPDATE_IN_PROGRESS": "changing", "DELETE_IN_PROGRESS": "removing"}
_UNTOLD = {"AWS::CDK::Metadata", "AWS::CloudFormation::Stack"}
_NOISE = (
    "✨", "✅", "❌", "Need to perform AWS calls", "current credentials could not", "NOTICES", "Source Location",
    "Hold on while we create a read-only change set", "start: ", "success: ", "(node:", "Unknown option", "Outputs:",
    "Successfully synthesized", "Supply a stack id",
)  # fmt: skip
_NO_ACCOUNT = "Unable to resolve AWS account"  # `diff` says it without the mark of a cause
_FLAGS = re.compile(r"\d+ feature flags are not configured")


def _nobody(_: str) -> None: ...


class Event(NamedTuple):
    """A line of CloudFormation's log: what became of one resource."""

    stack: str
    place: str
    status: str
    kind: str
    name: str
    reason: str

    @property
    def what(self) -> str:
        """`DynamoDB Table Notes`."""
        words = self.kind.removeprefix("AWS::").replace("::", " ")
        return f"{words} {self.name}"


class Progress:
    """Hears the lines of the CDK CLI: says what has happened, and hints at what is under way."""

    def __init__(self, say: Callable[[str], None] = _nobody, hint: Callable[[str], None] = _nobody) -> None:
        self._say = say
        self._hint = hint
        self._failed: list[Event] = []
        self._lines: list[str] = []
        self._told: set[tuple[str, str, str]] = set()
        self.code: int | None = None
        """The exit code of the app's own program, where it is that which failed."""

    def hear(self, line: str) -> None:
        """Take notice of one line."""
        plain = _COLOR.sub("", line).rstrip()
        event = event_in(plain)
        if event is None:
            self._keep(plain)
        elif "FAILED" in event.status and not _NOT_THE_CAUSE.search(event.reason):
            self._failed.append(event)
        elif event.status in _VERBS and event.kind not in _UNTOLD:
            self._tell(event)
        elif event.status in _UNDER_WAY and event.kind not in _UNTOLD and not self._is_told(event):
            self._hint(f"{_UNDER_WAY[event.status]}  {event.what} ...")

    @property
    def reason(self) -> str:
        """Why it failed: the resources and what AWS says of each, else what the CDK CLI says."""
        if self._failed:
            return "\n".join(_sentences(self._failed))
        if self.code is not None:
            return "\n".join(_without_traceback(self._lines))
        causes = [line.partition(": ")[2] for line in self._lines if line.startswith("‣ ")]
        told = causes or self._lines[-1:] or ["The CDK CLI does not say why."]
        return _in_our_words(told[0])

    @property
    def has_cause(self) -> bool:
        """Whether something went wrong that there is a reason for."""
        return bool(self._failed) or any(line.startswith(("‣ ", _NO_ACCOUNT)) for line in self._lines)

    @property
    def remarks(self) -> list[str]:
        """What else was said."""
        return self._lines

    def _keep(self, line: str) -> None:
        if ended := _ENDED.fullmatch(line):
            self.code = int(ended[2])
        elif line.strip() and not line.lstrip().startswith(_NOISE) and not _FLAGS.match(line):
            self._lines.append(line)

    def _tell(self, event: Event) -> None:
        # CloudFormation says some things more than once.
        if not self._is_told(event):
            self._told.add((event.stack, event.name, event.status.partition("_")[0]))
            self._say(f"{event.stack}  {event.place:>7}  {_VERBS[event.status]}  {event.what}")

    def _is_told(self, event: Event) -> bool:
        return (event.stack, event.name, event.status.partition("_")[0]) in self._told


def event_in(line: str) -> Event | None:
    """The event that a line tells of; None where it tells something else."""
    found = _EVENT.match(line)
    named = found and (_NAMED.fullmatch(found["rest"].strip()) or _PLAIN.fullmatch(found["rest"].strip()))
    if not found or not named:
        return None
    place = "/".join(filter(None, (found["done"], found["all"])))
    name = named["path"].removesuffix("/Resource").removesuffix("/Default")
    return Event(found["stack"], place, found["status"], found["kind"], name, named["reason"] or "")


def without_noise(line: str) -> str | None:
    """A line as it is shown to people; None where it is about the CDK CLI's own doings."""
    plain = _COLOR.sub("", line).strip()
    return None if plain.startswith(_NOISE) or _FLAGS.match(plain) or _ENDED.fullmatch(plain) else line


def _sentences(failed: list[Event]) -> Iterator[str]:
    told = set()
    for event in failed:
        if (event.stack, event.name) not in told:
            told.add((event.stack, event.name))
            verb = {"CREATE": "created", "DELETE": "removed"}.get(event.status.partition("_")[0], "changed")
            reason = event.reason or "AWS does not say why."
            yield f"{event.what} of {event.stack} could not be {verb}: {reason}"


def _without_traceback(lines: list[str]) -> list[str]:
    """A program of the user's own, told by cdk.json, may end with one; its last line says what it was."""
    return lines[-1:] if any(line.startswith("Traceback ") for line in lines) else lines


def _in_our_words(told: str) -> str:
    if "bootstrap" in told:
        where = re.search(r"aws://[\w/-]+", told)
        place = where[0] if where else "This account and region"
        return f"{place} is not prepared for the CDK yet; once is enough: `headgate deploy --bootstrap`."
    if "no credentials" in told or _NO_ACCOUNT in told:
        return "There are no AWS credentials: log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID."
    return told
