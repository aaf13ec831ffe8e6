"""headgate deploy"""

from __future__ import annotations

import json

import click

from headgate.cli.deployment import OUTPUTS_FILE, context_option, deployment, pipeline_option, stage_option
from headgate.cli.place import Place, placed
from headgate.cli.table import print_table
from headgate.errors import Misuse


@click.command
@stage_option
@click.option("--bootstrap", is_flag=True, help="First prepare the account and region for the CDK; once is enough.")
@click.option("--log-role", is_flag=True, help="Also let API Gateway write logs in this account; once is enough.")
@context_option
@pipeline_option
@placed
def deploy(place: Place, context: tuple[str, ...], bootstrap: bool, log_role: bool, pipeline: bool) -> None:
    """Deploy the app to your AWS account: create or change what `headgate diff` shows.

    One line for each resource goes to stderr, the outputs to stdout and into outputs.json beside the app. Where it
    fails, the resource and AWS's reason are told, and CloudFormation puts everything back as it was.

    \b
    Example:
      headgate deploy --stage prod
    """
    made = deployment(place, context, pipeline=pipeline)
    if pipeline and log_role:
        raise Misuse("--log-role is of a stage: `headgate deploy --stage dev --log-role` sets the role, once for all.")
    if not log_role and not pipeline:
        _check_log_role(place)
    assembly = made.synthesize(None, *(["log_role=true"] if log_role else []))
    if assembly.has_images:
        _check_builder()
    if bootstrap:
        made.run("bootstrap")
    outputs = made.project / OUTPUTS_FILE
    made.run(
        "deploy", "--all", "--require-approval", "never", "--progress", "events", "--outputs-file", str(outputs)
    )  # fmt: skip
    stacks = json.loads(outputs.read_text(encoding="utf-8"))
    print_table(("OUTPUT", "VALUE"), sorted(pair for found in stacks.values() for pair in found.items()))


def _check_builder() -> None:
    """Before anything is created: the CDK CLI says no more than that an image could not be built."""
    from headgate.cdk.toolkit import image_builder

    image_builder()


def _check_log_role(place: Place) -> None:
    """Without the role the API is refused, as the last of many resources. Who may deploy need not be allowed to ask."""
    from headgate.cli.deployed import NotAllowed

    if place.deployed.stage.account_log_role:
        return
    try:
        found = place.deployed.log_role()
    except NotAllowed:
        return
    if not found:
        raise Misuse(
            "API Gateway has no role to write logs with in this account and region, and would refuse the API: "
            "`headgate deploy --log-role` sets one, once for all. It stays when the app goes."
        )
