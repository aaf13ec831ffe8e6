"""headgate check"""

from __future__ import annotations

import json

import click

from headgate.cli.outline import COLUMNS, cells, outline
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
    app = place.app
    print_table(COLUMNS, [cells(channel) for channel in app.channels])
    for warning in app.warnings():
        click.echo(f"warning: {warning}", err=True)
    return 0


def _check_for_scripts(place: Place) -> int:
    try:
        app = place.app
    except DeclarationError as error:
        print(json.dumps({"app": None, "channels": [], "warnings": [], "faults": _listed(error.faults)}, indent=2))
        return 2
    channels = [outline(channel) for channel in app.channels]
    said = {"app": app.name, "channels": channels, "warnings": _listed(app.warnings()), "faults": []}
    print(json.dumps(said, indent=2))
    return 0


def _listed(faults: tuple[DeclarationFault, ...] | list[DeclarationFault]) -> list[dict[str, str]]:
    return [fault._asdict() for fault in faults]
