"""headgate backup"""

from __future__ import annotations

from pathlib import Path

import click

from headgate.cli.place import Place, placed
from headgate.errors import Misuse


@click.command
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@placed
def backup(place: Place, file: Path) -> None:
    """Copy the store into FILE: all of it, as it is at one moment; also while it is being served.

    The copy is checked and synced. Messages, the hashes of API keys and the secrets of access keys (Iam) are in it;
    what Secret(...) names is not. Executions of workflows, where there are any, are copied into FILE.executions.

    \b
    Example:
      headgate backup /var/backups/shop-$(date +%F).sqlite3
    """
    from headgate.local.backup import EXECUTIONS, back_up

    if not place.state.store.exists():
        raise Misuse(f"There is nothing to back up: there is no {place.state.store}.")
    beside = file.with_name(f"{file.name}.executions")
    if place.state.executions.exists() and beside.exists():
        raise Misuse(f"{beside} exists already; a backup never replaces a file. Say another name.")
    count = back_up(place.state.store, file)
    if place.state.executions.exists():  # after the messages: see ADR 0006
        back_up(place.state.executions, beside, EXECUTIONS)
    click.echo(f"{file} holds the store: {count} message{'' if count == 1 else 's'}.", err=True)
