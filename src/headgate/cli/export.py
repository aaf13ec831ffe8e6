"""headgate export"""

from __future__ import annotations

import json

import click

from headgate.cli.group import Group
from headgate.cli.place import Place, placed


@click.group(cls=Group)
@placed
def export(place: Place) -> None:
    """Print a workflow for other tools.

    \b
    Example:
      headgate export mermaid orders
    """


@export.command
@click.argument("workflow", required=False)
@placed
def asl(place: Place, workflow: str | None) -> None:
    """Print WORKFLOW in Amazon States Language, as the engines run it: an Express one that messages start with the
    states that claim the message and write its end down. Its name may be left out where the app has one.

    \b
    Example:
      headgate export asl orders > orders.asl.json
    """
    from headgate.declare.compile import placed as put
    from headgate.declare.express import document_of
    from headgate.declare.task import local_name

    document = put(document_of(place.app, place.workflow(workflow)), local_name)
    print(json.dumps(document, indent=2, ensure_ascii=False))


@export.command
@click.argument("workflow", required=False)
@placed
def mermaid(place: Place, workflow: str | None) -> None:
    """Print WORKFLOW as a state diagram in mermaid.

    \b
    Example:
      headgate export mermaid orders
    """
    from headgate.describe.mermaid import mermaid as diagram

    print(diagram(place.workflow(workflow).placed()), end="")
