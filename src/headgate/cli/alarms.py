"""headgate alarms"""

from __future__ import annotations

import json

import click

from headgate.cli.place import Place, json_option, placed
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.describe.alarms import Alarm
from headgate.describe.alarms import alarms as declared_by
from headgate.local.alarms import Standing, standings


@click.command
@json_option
@placed
def alarms(place: Place, as_json: bool) -> None:
    """List the alarms that follow from the app, and how they are; also beside a running server.

    \b
    Example:
      headgate alarms --json
    """
    found = declared_by(place.app)
    known: dict[str, Standing] = {}
    if place.state.store.exists():
        with place.local_index() as index:
            known = standings(index.read_with)
    if as_json:
        print(json.dumps({"alarms": [_as_json(alarm, known.get(alarm.name)) for alarm in found]}))
        return
    if not found:
        click.echo("The app has no channels, and so no alarms.", err=True)
        return
    rows = []
    for alarm in found:
        standing = known.get(alarm.name)
        state, since = (standing.state, isoformat(standing.since_ms)) if standing else ("OK", "-")
        rows.append((alarm.name, state, since, alarm.sentence))
    print_table(("ALARM", "STATE", "SINCE", "GOES OFF WHEN"), rows)


def _as_json(alarm: Alarm, standing: Standing | None) -> dict[str, object]:
    return {
        **alarm._asdict(),
        "state": standing.state if standing else "OK",
        "since": isoformat(standing.since_ms) if standing else None,
    }
