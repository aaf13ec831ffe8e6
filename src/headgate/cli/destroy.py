"""headgate destroy"""

from __future__ import annotations

import sys

import click

from headgate.cli.deployment import Deployment, context_option, deployment, pipeline_option, stage_option
from headgate.cli.place import Place, placed
from headgate.cli.table import print_table
from headgate.errors import Misuse


@click.command
@stage_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@context_option
@pipeline_option
@placed
def destroy(place: Place, context: tuple[str, ...], yes: bool, pipeline: bool) -> int:
    """Remove the deployed app from your AWS account. First says what will be lost, then asks.

    What a stage with removal="retain" stores is not removed.

    \b
    Example:
      headgate destroy --stage test --yes
    """
    made = deployment(place, context, pipeline=pipeline)
    if pipeline:
        return _destroy_pipeline(made, yes=yes)
    deployed = made.place.deployed
    if not deployed.stacks:
        click.echo(f"{deployed.name} is not deployed: there is nothing to remove.", err=True)
        return 0
    holdings = deployed.holdings()
    print_table(
        ("WHAT", "NAME", "HOLDS", "THEN"),
        [(it.kind, it.name, it.amount, "kept" if it.kept else "lost") for it in holdings],
    )
    if not _is_meant(f"Remove {deployed.name}?", yes=yes):
        return 1
    made.synthesize()
    made.run("destroy", "--all", "--force")
    click.echo(f"{deployed.name} is removed.", err=True)
    if kept := [holding.name for holding in holdings if holding.kept]:
        click.echo(f"Kept, and yours to remove: {', '.join(kept)}.", err=True)
    return 0


def _destroy_pipeline(made: Deployment, *, yes: bool) -> int:
    name = made.place.app.name
    if not _is_meant(f"Remove the pipeline of {name}? What it has deployed stays.", yes=yes):
        return 1
    made.synthesize()
    made.run("destroy", "--all", "--force")
    click.echo(f"The pipeline of {name} is removed.", err=True)
    return 0


def _is_meant(question: str, *, yes: bool) -> bool:
    if not yes and not sys.stdin.isatty():
        raise Misuse("There is nobody to ask; say --yes.")
    if yes or click.confirm(question):
        return True
    click.echo("Nothing was removed.", err=True)
    return False
