"""headgate alarms"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import click

from headgate.cli.place import Place, json_option, placed, stage_option
from headgate.cli.table import print_table
from headgate.clock import isoformat

if TYPE_CHECKING:
    from headgate.describe.alarms import Alarm


class State(NamedTuple):
    """How an alarm is, and since when, as people are told it."""

    name: str
    since: str | None = None


@click.command
@json_option
@stage_option
@placed
def alarms(place: Place, as_json: bool) -> None:
    """List the alarms that follow from the app, and how they are; also beside a running server, and of a deployed app.

    \b
    Example:
      headgate alarms --json
    """
    from headgate.describe.alarms import alarms as declared_by

    found = declared_by(place.app)
    states = _local(place, found) if place.stage is None else _deployed(place, found)
    if as_json:
        told = [
            {**alarm._asdict(), "state": state.name, "since": state.since}
            for alarm, state in zip(found, states, strict=True)
        ]
        print(json.dumps({"alarms": told}))
        return
    if not found:
        click.echo("The app has no channels, and so no alarms.", err=True)
        return
    rows = [
        (alarm.name, state.name, state.since or "-", alarm.sentence) for alarm, state in zip(found, states, strict=True)
    ]
    print_table(("ALARM", "STATE", "SINCE", "GOES OFF WHEN"), rows)


def _local(place: Place, found: list[Alarm]) -> list[State]:
    from headgate.local.alarms import Standing, standings

    known: dict[str, Standing] = {}
    if place.state.store.exists():
        with place.local_index() as index:
            known = standings(index.read_with)
    return [
        State(known[alarm.name].state, isoformat(known[alarm.name].since_ms)) if alarm.name in known else State("OK")
        for alarm in found
    ]


def _deployed(place: Place, found: list[Alarm]) -> list[State]:
    """By their sentences, which are what an alarm of CloudWatch has for a description."""
    known = {
        told.get("AlarmDescription"): State(
            told["StateValue"], isoformat(round(told["StateUpdatedTimestamp"].timestamp() * 1000))
        )
        for told in place.deployed.alarms()
    }
    return [known.get(alarm.sentence, State("NOT DEPLOYED")) for alarm in found]
