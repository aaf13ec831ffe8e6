"""headgate synth"""

from __future__ import annotations

from pathlib import Path

import click

from headgate import limits
from headgate.cli.deployment import context_option, deployment, pipeline_option, stage_option
from headgate.cli.place import Place, placed


@click.command
@stage_option
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the templates go.  [default: cdk.out beside the app]",
)
@context_option
@pipeline_option
@placed
def synth(place: Place, context: tuple[str, ...], output: Path | None, pipeline: bool) -> None:
    """Write the CloudFormation templates of the app in a stage, and what is uploaded with them.

    Needs neither AWS nor Docker: dependencies are fetched ready-made for the machine that Lambda runs on.

    \b
    Example:
      headgate synth --stage prod --output build
    """
    from headgate.cdk.zips import has_bytecode, size_of

    made = deployment(place, context, pipeline=pipeline)
    folder = made.assembly_folder if output is None else output.resolve()
    assembly = made.synthesize(folder)
    for stack in assembly.stacks:
        click.echo(f"{stack.name}  {len(stack.resources)} resources")
    for layer in assembly.layers():
        size = size_of(layer)
        unzipped, most = size.unzipped_bytes / 1e6, limits.LAMBDA_UNZIPPED.value / 1e6
        click.echo(f"layer  {size.zip_bytes / 1e6:.1f} MB, unpacked {unzipped:.1f} MB of at most {most:.0f} MB")
        if not has_bytecode(layer):
            click.echo(
                "The layer has no bytecode, as that Python is not on this machine: cold starts compile.", err=True
            )
    click.echo(f"The templates are in {folder}.", err=True)
