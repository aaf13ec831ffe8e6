"""headgate deploy"""

from __future__ import annotations

import json

import click

from headgate.cli.deployment import OUTPUTS_FILE, deployment, stage_option
from headgate.cli.place import Place, placed
from headgate.cli.table import print_table


@click.command
@stage_option
@click.option("--bootstrap", is_flag=True, help="First prepare the account and region for the CDK; once is enough.")
@placed
def deploy(place: Place, bootstrap: bool) -> None:
    """Deploy the app to your AWS account: create or change what `headgate diff` shows.

    One line for each resource goes to stderr, the outputs to stdout and into outputs.json beside the app. Where it
    fails, the resource and AWS's reason are told, and CloudFormation puts everything back as it was.

    \b
    Example:
      headgate deploy --stage prod
    """
    made = deployment(place)
    made.synthesize()
    if bootstrap:
        made.run("bootstrap")
    outputs = made.project / OUTPUTS_FILE
    made.run(
        "deploy", "--all", "--require-approval", "never", "--progress", "events", "--outputs-file", str(outputs)
    )  # fmt: skip
    stacks = json.loads(outputs.read_text(encoding="utf-8"))
    print_table(("OUTPUT", "VALUE"), sorted(pair for found in stacks.values() for pair in found.items()))
