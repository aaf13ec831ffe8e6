"""headgate diff"""

from __future__ import annotations

import click

from headgate.cli.deployment import context_option, deployment, pipeline_option, stage_option
from headgate.cli.place import Place, placed


@click.command
@stage_option
@click.option("--fail", is_flag=True, help="Exit with 1 where anything differs.")
@context_option
@pipeline_option
@placed
def diff(place: Place, context: tuple[str, ...], fail: bool, pipeline: bool) -> int:
    """Say what a deployment would change. Nothing is changed.

    \b
    Example:
      headgate diff --stage prod
    """
    made = deployment(place, context, pipeline=pipeline)
    made.synthesize()
    return made.show("diff", *(["--fail"] if fail else []))
