"""headgate check"""

from __future__ import annotations

import json

import click

from headgate.cli.place import Place, json_option, placed
from headgate.cli.table import print_table
from headgate.errors import DeclarationError, DeclarationFault


@click.command
@json_option
@placed
def check(place: Place, as_json: bool) -> int:
    """Say what the app declares, and what is wrong with it.

    Every fault is one line with file and line number; the exit code is then 2.

    \b
    Example:
      headgate check --app shop/app.py
    """
    if as_json:
        return _check_for_scripts(place)
    from headgate.cli.outline import COLUMNS, about, cells

    app = place.app
    print_table(COLUMNS, [cells(channel) for channel in app.channels])
    if app.workflows:
        print()
        print_table(("WORKFLOW", "KIND", "STATES"), [tuple(map(str, about(one).values())) for one in app.workflows])
    if app.schedules:
        print()
        rows = [(one.name, one.expression, one.timezone, one.workflow) for one in app.schedules]
        print_table(("SCHEDULE", "EXPRESSION", "ZONE", "WORKFLOW"), rows)
    for warning in app.warnings():
        click.echo(f"warning: {warning}", err=True)
    return 0


def _check_for_scripts(place: Place) -> int:
    from headgate.cli.outline import about, outline

    try:
        app = place.app
    except DeclarationError as error:
        print(json.dumps({"app": None, "channels": [], "warnings": [], "faults": _listed(error.faults)}, indent=2))
        return 2
    channels = [outline(channel) for channel in app.channels]
    workflows = [about(workflow) for workflow in app.workflows]
    schedules = [
        {"name": one.name, "expression": one.expression, "timezone": one.timezone, "workflow": one.workflow}
        for one in app.schedules
    ]
    parts = {"channels": channels, "workflows": workflows, "schedules": schedules}
    said = {"app": app.name, **parts, "warnings": _listed(app.warnings()), "faults": []}
    print(json.dumps(said, indent=2))
    return 0


def _listed(faults: tuple[DeclarationFault, ...] | list[DeclarationFault]) -> list[dict[str, str]]:
    return [fault._asdict() for fault in faults]
