"""headgate outputs"""

from __future__ import annotations

import json

import click

from headgate.cli.deployment import stage_option
from headgate.cli.place import Place, json_option, placed
from headgate.cli.table import print_table


@click.command
@stage_option
@json_option
@placed
def outputs(place: Place, as_json: bool) -> None:
    """Say where the deployed app is: addresses, tables, buckets, secrets, as CloudFormation knows them.

    \b
    Example:
      curl "$(headgate outputs --stage prod --json | jq -r .ApiUrl)"
    """
    found = place.deployed.outputs
    if as_json:
        print(json.dumps(dict(sorted(found.items())), indent=2))
    else:
        print_table(("OUTPUT", "VALUE"), sorted(found.items()))
