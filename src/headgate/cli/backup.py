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

    The copy is checked and synced. Secrets are not in it; messages and the hashes of API keys are.

    \b
    Example:
      headgate backup /var/backups/shop-$(date +%F).sqlite3
    """
    from headgate.local.backup import back_up

    if not place.state.store.exists():
        raise Misuse(f"There is nothing to back up: there is no {place.state.store}.")
    count = back_up(place.state.store, file)
    click.echo(f"{file} holds the store: {count} message{'' if count == 1 else 's'}.", err=True)
