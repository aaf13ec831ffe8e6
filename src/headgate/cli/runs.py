"""headgate runs"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from headgate.cli.cause import cause_lines
from headgate.cli.group import Group
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.declare.express import handed
from headgate.errors import Misuse, NotFound

if TYPE_CHECKING:
    from headgate.aws.executions import StepFunctions
    from headgate.engine import Execution
    from headgate.gate.states import StateRun
    from headgate.local.executions.reading import Reading
    from headgate.message import Message

_NO_HISTORY = "An Express execution keeps no history of its states."
_EVENTS = 25_000  # the most that Step Functions keeps of one execution
_NUMBER = "\ud800 number "  # half a surrogate pair, which no JSON has that came in
_STATUSES = ("running", "succeeded", "failed", "timed_out", "aborted")


@click.group(cls=Group)
@stage_option
@placed
def runs(place: Place) -> None:
    """List, show, redrive and stop executions of workflows, also of a deployed app. What changes those of the local one
    is done by the running server.

    \b
    Example:
      headgate runs list orders --status failed
    """


@runs.command(name="list")
@click.argument("workflow", required=False)
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False), help="Only those.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Where the page before ended.")
@json_option
@stage_option
@placed
def list_(
    place: Place, workflow: str | None, status: str | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List executions, the one started last first: of WORKFLOW, or of all.

    \b
    Example:
      headgate runs list orders --status failed --json
    """
    with _reading(place) as reading:
        try:
            page = reading.find(workflow, status and status.upper(), limit, cursor)
        except ValueError:
            raise Misuse("--cursor is not one that a list gave.") from None
    if workflow is not None and not page.executions:
        place.workflow(workflow)  # one that is gone from the app may have executions all the same
    if as_json:
        print(_json({"items": [_told(one) for one in page.executions], "cursor": page.next}))
    elif page.executions:
        rows = [
            (one.name, one.workflow, one.status, isoformat(one.started_ms), _span(one.started_ms, one.stopped_ms))
            for one in page.executions
        ]
        print_table(("NAME", "WORKFLOW", "STATUS", "STARTED", "TOOK"), rows)
        if page.next:
            click.echo(f"There are more: --cursor {shlex.quote(page.next)}", err=True)
    else:
        click.echo("There is no such execution.", err=True)


@runs.command
@click.argument("id")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a state diagram, with what it did marked.")
@json_option
@stage_option
@placed
def show(place: Place, id: str, as_mermaid: bool, as_json: bool) -> None:
    """Show an execution, by its name or ARN: its states with times, input, output, error and retries.

    \b
    Example:
      headgate runs show nightly-20260101T020000Z --mermaid
    """
    from headgate.gate.states import marks, state_runs

    with _reading(place) as reading:
        if express := _told_by_message(place, reading, id):
            _print_express(express, as_json=as_json or as_mermaid)
            return
        found = _found(reading, id)
        states = state_runs(reading.history(found.id, limit=_EVENTS))
        document = reading.document(found.id)
    if as_mermaid:
        from headgate.describe.mermaid import mermaid

        print(mermaid(document, marks(states, found.status)), end="")
    elif as_json:
        note = {"note": _NO_HISTORY} if ":express:" in found.id else {}
        told = {**_told(found), "states": [_state(one, found) for one in states], **note}
        print(_json(told))
    else:
        _print(found, states)
        if ":express:" in found.id:
            click.echo(_NO_HISTORY, err=True)


@runs.command
@click.argument("id")
@stage_option
@placed
def redrive(place: Place, id: str) -> None:
    """Let an execution that ended badly go on from the states it failed in.

    \b
    Example:
      headgate runs redrive nightly-20260101T020000Z
    """
    _ask(place, "redrive", id)


@runs.command
@click.argument("id")
@stage_option
@placed
def stop(place: Place, id: str) -> None:
    """Let an execution do no more.

    \b
    Example:
      headgate runs stop nightly-20260101T020000Z
    """
    _ask(place, "stop", id)


class _Express(NamedTuple):
    """An execution of which nobody knows but the message that started it."""

    execution: Execution
    message: Message


def _told_by_message(place: Place, reading: Reading | StepFunctions, id: str) -> _Express | None:
    """Step Functions tells nothing of an Express execution once it is started; the row of its message does."""
    from headgate.gate.start import key_in, told_by

    express = {workflow.name for workflow in place.app.workflows if workflow.express}
    channels = [it for it in place.app.channels if it.start is not None and it.start.workflow_name in express]
    if place.stage is None or not channels or reading.called(id):
        return None
    arn = id if ":express:" in id else ""
    found = []
    with place.deployed.rooms() as (index, queue):
        for channel in channels:
            assert channel.start is not None  # noqa: S101 - only those are asked
            key = key_in(channel.start, channel.name, id)
            named = [] if key is None else [(scope, key) for scope in index.scopes(channel.name, key)]
            for scope, key in queue.started(channel.name, arn) if arn else named:
                message = index.get(channel.name, scope, key)
                execution = None if message is None else told_by(message, channel.start.workflow_name, arn)
                if message is not None and execution is not None:
                    found.append(_Express(execution, message))
    if len(found) > 1:  # of several senders with one key, or of several channels
        arns = ", ".join(sorted(one.execution.id for one in found))
        raise Misuse(f"Several executions are called {visible(id)}; say one by its ARN: {arns}.")
    return found[0] if found else None


def _print_express(express: _Express, *, as_json: bool) -> None:
    channel, key = express.message.channel, express.message.key
    note = f"{_NO_HISTORY} This is what its message tells: headgate messages show {channel} {shlex.quote(key)}"
    if as_json:
        of = {"channel": channel, "key": key, "status": express.message.status}
        told = {**_told(express.execution), "states": [], "message": of, "note": note}
        print(_json(told))
    else:
        _print(express.execution, [])
        click.echo(visible(note), err=True)


def _ask(place: Place, verb: Literal["redrive", "stop"], id: str) -> None:
    from headgate.cli.changes import ask_server

    if place.stage is not None:
        with place.deployed.executions() as executions:
            known = _found(executions, id)
            changed = executions.redrive(known.id) if verb == "redrive" else executions.stop(known.id)
        click.echo(f"{changed.name} is {changed.status}.", err=True)
        return
    with _reading(place) as reading:
        found = _found(reading, id)
    now = ask_server(place, verb, found.id)
    if now is None:
        raise NotFound(f"There is no execution {visible(id)}.")
    click.echo(f"{now.name} is {now.status}.", err=True)


@contextmanager
def _reading(place: Place) -> Iterator[Reading | StepFunctions]:
    if place.stage is not None:
        with place.deployed.executions() as executions:
            yield executions
        return
    from headgate.local.executions.reading import reading
    from headgate.local.executions.schema import FILE_NAME

    with reading(place.state.path / FILE_NAME) as opened:
        yield opened


def _found(reading: Reading | StepFunctions, id: str) -> Execution:
    named = reading.called(id)
    if not named:
        raise NotFound(f"There is no execution {visible(id)}; `headgate runs list` shows them.")
    if len(named) > 1:
        raise Misuse(f"Several executions are called {visible(id)}; say its ARN: {', '.join(one.id for one in named)}.")
    return named[0]


def _told(execution: Execution) -> dict[str, Any]:
    said = execution._asdict()
    started_ms, stopped_ms = said.pop("started_ms"), said.pop("stopped_ms")
    said["input"] = handed(said["input"])
    for name in ("input", "output"):
        said[name] = _loaded(said[name]) if said[name] else None
    return {**said, "started_at": isoformat(started_ms), "stopped_at": stopped_ms and isoformat(stopped_ms)}


def _loaded(text: str) -> Any:
    """JSON in which numbers are texts with a mark; `_json` writes them as they came, which a float could not be."""
    return json.loads(text, parse_float=_NUMBER.__add__, parse_int=_NUMBER.__add__)


def _json(told: dict[str, Any]) -> str:
    marked = re.escape(json.dumps(_NUMBER)[:-1])
    return re.sub(rf'{marked}([^"]+)"', r"\1", json.dumps(told, indent=2))


def _state(run: StateRun, execution: Execution) -> dict[str, Any]:
    from headgate.gate.states import over_ms

    ended_ms = over_ms(run, execution)
    return {
        "name": run.name,
        "type": run.type,
        "started_at": isoformat(run.started_ms),
        "ended_at": None if ended_ms is None else isoformat(ended_ms),
        "input": None if run.input is None else _loaded(run.input),
        "output": None if run.output is None else _loaded(run.output),
        "error": run.error,
        "cause": run.cause,
        "retries": run.retries,
    }


def _print(execution: Execution, states: list[StateRun]) -> None:
    lines = [
        ("name", execution.name),
        ("workflow", execution.workflow),
        ("status", execution.status),
        ("started", isoformat(execution.started_ms)),
        ("took", _span(execution.started_ms, execution.stopped_ms)),
        ("input", handed(execution.input)),
        ("output", execution.output),
        ("error", execution.error),
        ("cause", "\n".join(cause_lines(execution.cause or ""))),
        ("arn", execution.id),
    ]
    for name, value in lines:
        if value:
            print(f"{name:9}", f"\n{'':10}".join(visible(line) for line in value.split("\n")))
    if states:
        from headgate.gate.states import over_ms

        print()
        rows = [
            (run.name, run.type, isoformat(run.started_ms), _span(run.started_ms, over_ms(run, execution)),
             str(run.retries), run.error or "")
            for run in states
        ]  # fmt: skip
        print_table(("STATE", "TYPE", "ENTERED", "TOOK", "RETRIES", "ERROR"), rows)


def _span(started_ms: int, ended_ms: int | None) -> str:
    return "" if ended_ms is None else f"{(ended_ms - started_ms) / 1000:.3f} s"
