"""headgate schedule"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import Group
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.clock import SystemClock, isoformat
from headgate.errors import NotFound

if TYPE_CHECKING:
    from headgate.declare.schedule import Schedule


@click.group(cls=Group)
@stage_option
@placed
def schedule(place: Place) -> None:
    """Show when schedules fire, or fire one now.

    \b
    Example:
      headgate schedule list --next 5
    """


@schedule.command(name="list")
@click.option("--next", "count", type=click.IntRange(1, 100), default=3, show_default=True, help="How many fires.")
@json_option
@stage_option
@placed
def list_(place: Place, count: int, as_json: bool) -> None:
    """List the schedules, with the times they fire next, in UTC.

    Of a deployed app a `rate` counts from when it was deployed, or changed, last; AWS does not tell the second, so that
    these times are right to a minute or so, and marked with ~. What is disabled does not fire.

    \b
    Example:
      headgate schedule list --json
    """
    fires = _fires_in_stage if place.stage is not None else _fires
    listed: list[dict[str, Any]] = [
        {
            "name": declared.name,
            "expression": declared.expression,
            "timezone": declared.timezone,
            "workflow": declared.workflow,
            "next": [isoformat(at) for at in next_ms],
            "about": place.stage is not None and declared.expression.startswith("rate("),
        }
        for declared, next_ms in fires(place, count)
    ]
    if as_json:
        print(json.dumps(listed, indent=2))
    elif listed:
        rows = [
            (
                str(one["name"]),
                str(one["expression"]),
                str(one["timezone"]),
                str(one["workflow"]),
                ", ".join(f"~{at}" if one["about"] else at for at in one["next"]) or "-",
            )
            for one in listed
        ]
        print_table(("NAME", "EXPRESSION", "ZONE", "WORKFLOW", "NEXT"), rows)
    else:
        click.echo("The app has no schedule; declare one with app.schedule(name, expression, workflow).", err=True)


def _fires(place: Place, count: int) -> Iterator[tuple[Schedule, list[int]]]:
    from headgate.gate.fire import upcoming
    from headgate.local.scheduler import load_due
    from headgate.local.schema import open_reading

    now_ms = SystemClock().now_ms()
    known = {}
    if place.state.store.exists():
        connection = open_reading(place.state.store)
        try:
            known = {due.name: due for due in load_due(connection)}
        finally:
            connection.close()
    for declared in place.app.schedules:
        due = known.get(declared.name)
        counts = due is not None and (due.expression, due.timezone) == (declared.expression, declared.timezone)
        anchor_ms = due.anchor_ms if due is not None and counts else now_ms
        yield declared, upcoming(declared, anchor_ms, now_ms, count)


def _fires_in_stage(place: Place, count: int) -> Iterator[tuple[Schedule, list[int]]]:
    from headgate.declare.schedule import Rate, expression_of
    from headgate.gate.fire import upcoming

    now_ms = SystemClock().now_ms()
    for declared in place.app.schedules:
        is_rate = isinstance(expression_of(declared.expression), Rate)
        anchor_ms = place.deployed.switched_on_ms(declared) if is_rate else now_ms
        is_known = place.deployed.is_enabled(declared) and anchor_ms is not None
        yield declared, upcoming(declared, anchor_ms or now_ms, now_ms, count) if is_known else []


@schedule.command
@click.argument("name")
@stage_option
@placed
def run(place: Place, name: str) -> None:
    """Start what the schedule NAME starts, now, beside its times; also of a deployed app. Prints the execution's name.

    \b
    Example:
      headgate schedule run nightly
    """
    from headgate.cli.changes import ask_server
    from headgate.http import new_id

    if name not in {declared.name for declared in place.app.schedules}:
        known = ", ".join(declared.name for declared in place.app.schedules) or "none"
        raise NotFound(f"There is no schedule {visible(name)}; the app has {known}.")
    if place.stage is not None:
        declared = next(one for one in place.app.schedules if one.name == name)
        with place.deployed.executions() as executions:
            print(executions.start(declared.workflow, f"{name[:40]}-{new_id()}", json.dumps(declared.input)).name)
        return
    execution = ask_server(place, "fire", name)
    if execution is None:
        raise NotFound(f"The server that runs does not know {visible(name)} yet; restart it.")
    print(execution.name)
