"""headgate schedule"""

from __future__ import annotations

import json

import click

from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.clock import SystemClock, isoformat
from headgate.errors import NotFound


@click.group
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
@placed
def list_(place: Place, count: int, as_json: bool) -> None:
    """List the schedules, with the times they fire next, in UTC.

    \b
    Example:
      headgate schedule list --json
    """
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
    listed = []
    for declared in place.app.schedules:
        due = known.get(declared.name)
        counts = due is not None and (due.expression, due.timezone) == (declared.expression, declared.timezone)
        anchor_ms = due.anchor_ms if due is not None and counts else now_ms
        fires = [isoformat(at) for at in upcoming(declared, anchor_ms, now_ms, count)]
        listed.append(
            {
                "name": declared.name,
                "expression": declared.expression,
                "timezone": declared.timezone,
                "workflow": declared.workflow,
                "next": fires,
            }
        )
    if as_json:
        print(json.dumps(listed, indent=2))
    elif listed:
        rows = [
            (
                str(one["name"]),
                str(one["expression"]),
                str(one["timezone"]),
                str(one["workflow"]),
                ", ".join(one["next"]),
            )
            for one in listed
        ]
        print_table(("NAME", "EXPRESSION", "ZONE", "WORKFLOW", "NEXT"), rows)
    else:
        click.echo("The app has no schedule; declare one with app.schedule(name, expression, workflow).", err=True)


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
