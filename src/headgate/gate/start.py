"""The execution that a message starts: what it is called, what it is handed, and how it is found again."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headgate.clock import isoformat
from headgate.declare.channel import Channel
from headgate.declare.task import Start
from headgate.engine import Execution, Executions, Lease
from headgate.errors import NotRun, Unavailable
from headgate.gate.effects import Started
from headgate.gate.finish import ended
from headgate.gate.given import is_same, spelled
from headgate.message import STARTED, Message, Moment

log = logging.getLogger("headgate.gate")

InputOf = Callable[[Start, Message], str]

_NAME_CHARS = 80
_STAMPED_CHARS = _NAME_CHARS - 14  # of a name that gets a time behind it
_UNFIT = re.compile(r"[^A-Za-z0-9_.=@!+-]")  # a little narrower than Step Functions
_MARK_CHARS = 16


def execution_name(start: Start, message: Message, *, express: bool = False) -> str:
    """The same for the same message. What a name cannot hold is replaced, and the whole marked with a hash then; so is
    that of a message whose key counts per principal, but for an Express workflow, where names need not differ."""
    said = start.called.replace("{id}", message.key).replace("{channel}", message.channel)
    said = said.replace("{batch}", batch_name(message))
    fit = _UNFIT.sub("_", said)
    if fit == said and len(said) <= _NAME_CHARS and (express or start.per_batch or not message.scope):
        return said
    return _marked(fit, f"{message.scope}\n{said}")


def key_in(start: Start, channel: str, name: str) -> str | None:
    """The key of the message whose execution is called so, where the name tells it; None where it does not."""
    before, _, after = start.called.replace("{channel}", channel).partition("{id}")
    if "{id}" in after or not (name.startswith(before) and name.endswith(after)):
        return None
    return name[len(before) : len(name) - len(after)] or None


def told_by(message: Message, workflow: str, id: str) -> Execution | None:
    """What a message tells of the execution with this ARN, or the last one if that is empty; None where it started
    none such."""
    started = [one for one in message.timeline if one.what == STARTED and (one.detail == id or not id)]
    if not started:
        return None
    begun, last = started[-1], message.timeline[-1]
    name = begun.detail.split(":")[7]
    found = Execution(begun.detail, workflow, name, "RUNNING", "", None, None, None, begun.at_ms, None, 0)
    match message.status:
        case "processed":
            return found._replace(status="SUCCEEDED", stopped_ms=last.at_ms)
        case "failed":
            return found._replace(status="FAILED", stopped_ms=last.at_ms, error=last.kind or None, cause=message.error)
    return found


def batch_name(message: Message) -> str:
    """What all messages of a request have in common, and no others."""
    said = f"{message.channel}\n{message.principal}\n{message.request_id}\n{message.received_ms}"
    return f"{message.received_ms}-{hashlib.sha256(said.encode()).hexdigest()[:_MARK_CHARS]}"


def batch_input(start: Start, messages: Sequence[Message]) -> str:
    """The JSON text: the list of what stands for each message."""
    return f"[{','.join(execution_input(start, message) for message in messages)}]"


def execution_input(start: Start, message: Message) -> str:
    """The JSON text; the bytes of the message stand in it as they came."""
    return _text(start.input, message)


def execution_of(
    executions: Executions, channel: Channel, lease: Lease, now_ms: int, *,
    input_of: InputOf = execution_input, express: bool = False, apart_ms: int = 0,
) -> Started | None:  # fmt: skip
    """The execution of a leased message: the one that is known or was started without anybody having noted it, else
    one started now; one that failed, where a person has put the message back, gone on with. None where there is none
    yet, and it may be tried again. `apart_ms` is how far the clocks of who takes messages in and of who runs workflows
    may be apart."""
    start = _start_of(channel)
    known = started_id(lease.message)
    execution = None if known is None else executions.describe(known)
    if execution is None or (is_redriven(lease.message) and execution.status not in ("RUNNING", "SUCCEEDED")):
        name = execution_name(start, lease.message, express=express)
        text = input_of(start, lease.message)
        asked = _Asked(start.workflow_name, name, text, lease.message.received_ms - apart_ms)
        execution = _again(executions, execution) or _begun(executions, asked)
    return _started(channel, execution, now_ms)


def executions_of(
    executions: Executions, channel: Channel, leases: Sequence[Lease], now_ms: int
) -> list[Started | None]:
    """`execution_of` for leased messages of a channel that starts one for each request. Which messages one holds, its
    input tells: what a crash left of a batch finds the execution that it is in, else starts one of its own."""
    known = {_place(lease.message): _known(executions, lease.message) for lease in leases}
    fresh: dict[str, list[Message]] = {}
    for lease in leases:
        if known[_place(lease.message)] is None:
            fresh.setdefault(batch_name(lease.message), []).append(lease.message)
    for messages in fresh.values():
        known |= _begun_together(executions, channel, messages)
    return [_started(channel, known[_place(lease.message)], now_ms) for lease in leases]


def _known(executions: Executions, message: Message) -> Execution | None:
    """The execution that a message has; one that failed, where a person has put the message back, gone on with."""
    id_ = started_id(message)
    execution = None if id_ is None else executions.describe(id_)
    if execution is not None and is_redriven(message) and execution.status not in ("RUNNING", "SUCCEEDED"):
        return _again(executions, execution)
    return execution


def _begun_together(
    executions: Executions, channel: Channel, messages: Sequence[Message]
) -> dict[tuple[str, str], Execution | None]:
    start = _start_of(channel)
    asked = _Asked(start.workflow_name, execution_name(start, messages[0]), batch_input(start, messages), 0)
    execution = _found(executions, asked)
    inside = set() if execution is None else {spelled(one) for one in json.loads(execution.input)}
    outside = [one for one in messages if spelled(json.loads(execution_input(start, one))) not in inside]
    found = {_place(message): execution for message in messages}
    if execution is not None and outside:
        own = _marked(asked.name, "\n".join(f"{message.scope}\t{message.key}" for message in outside))
        another = _found(executions, asked._replace(name=own, input=batch_input(start, outside)))
        found |= {_place(message): another for message in outside}
    return found


def _place(message: Message) -> tuple[str, str]:
    return message.scope, message.key


def _started(channel: Channel, execution: Execution | None, now_ms: int) -> Started | None:
    if execution is None:
        return None
    return Started(execution.id, None if execution.status == "RUNNING" else ended(channel, execution, now_ms))


def _start_of(channel: Channel) -> Start:
    if channel.start is None:
        raise ValueError(f"channel {channel.name} starts no workflow")
    return channel.start


def started_id(message: Message) -> str | None:
    """The execution that a message started last, as its timeline tells."""
    return next((moment.detail for moment in reversed(message.timeline) if moment.what == STARTED), None)


def claimed_by(message: Message) -> Moment | None:
    """When and for which execution it was started, since a person put it back last; None where it was not."""
    for moment in reversed(message.timeline):
        if moment.what in (STARTED, "redriven"):
            return moment if moment.what == STARTED else None
    return None


def is_redriven(message: Message) -> bool:
    """Whether a person put the message back after its execution had failed."""
    whats = [moment.what for moment in message.timeline if moment.what in ("failed", "redriven")]
    return whats[-1:] == ["redriven"]


def _marked(name: str, said: str) -> str:
    mark = hashlib.sha256(said.encode()).hexdigest()[:_MARK_CHARS]
    return f"{name[: _NAME_CHARS - _MARK_CHARS - 1]}-{mark}"


def _again(executions: Executions, failed: Execution | None) -> Execution | None:
    """One that failed, gone on with; None where it cannot be, as an Express execution."""
    try:
        return None if failed is None else executions.redrive(failed.id)
    except (NotRun, Unavailable):
        return None


class _Asked(NamedTuple):
    """What a message asks for. What was started before `since_ms` is not its own."""

    workflow: str
    name: str
    input: str
    since_ms: int


def _begun(executions: Executions, asked: _Asked) -> Execution | None:
    """The execution of a message, started now, or before without anybody having noted it."""
    execution = _found(executions, asked)
    if execution is not None and _is_of_earlier(execution, asked):
        # It is that of an earlier message under this key, which was removed since.
        return _found(executions, asked._replace(name=f"{asked.name[:_STAMPED_CHARS]}-{asked.since_ms}"))
    return execution


def _is_of_earlier(execution: Execution, asked: _Asked) -> bool:
    if execution.started_ms < asked.since_ms:
        return True
    return execution.input != asked.input and not is_same(json.loads(execution.input), json.loads(asked.input))


def _found(executions: Executions, asked: _Asked) -> Execution | None:
    """The execution of that name, started now or before; None where it could not be started."""
    try:
        return executions.start(asked.workflow, asked.name, asked.input)
    except Unavailable:
        return None
    except NotRun as refused:
        if refused.code == "ExecutionAlreadyExists":
            return executions.named(asked.workflow, asked.name)
        log.error("an execution could not be started workflow=%s: %s", asked.workflow, refused)
        return None


def _text(template: Any, message: Message) -> str:
    match template:
        case "{body}":
            return message.body.decode()
        case "{id}":
            return json.dumps(message.key, ensure_ascii=False)
        case "{channel}":
            return json.dumps(message.channel)
        case "{principal}":
            return json.dumps(message.principal, ensure_ascii=False)
        case "{received_at}":
            return json.dumps(isoformat(message.received_ms))
        case dict():
            inner = (f"{json.dumps(key, ensure_ascii=False)}:{_text(one, message)}" for key, one in template.items())
            return f"{{{','.join(inner)}}}"
        case list() | tuple():
            return f"[{','.join(_text(one, message) for one in template)}]"
        case _:
            return json.dumps(template, ensure_ascii=False)
