"""headgate restore"""

from __future__ import annotations

from pathlib import Path

import click

from headgate.cli.place import Place, placed


@click.command
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the store that is there; it is kept beside.")
@placed
def restore(place: Place, file: Path, force: bool) -> None:
    """Put the backup FILE in the place of the store, and FILE.executions, where it is there, in the place of its
    executions. Refused while it is being served.

    \b
    Example:
      headgate restore /var/backups/shop-2026-01-31.sqlite3 --force
    """
    from headgate.clock import SystemClock, isoformat
    from headgate.local.backup import EXECUTIONS, put_back

    place.state.hold()
    try:
        suffix = isoformat(SystemClock().now_ms()).replace(":", "").replace("-", "").replace(".", "")
        replaced = f"replaced-{suffix}" if force else None
        restored = put_back(file, place.state.store, replaced=replaced)
        beside = file.with_name(f"{file.name}.executions")
        if beside.exists():
            put_back(beside, place.state.executions, replaced=f"replaced-{suffix}", kind=EXECUTIONS)
    finally:
        place.state.release()
    messages = f"{restored.total} message{'' if restored.total == 1 else 's'}"
    click.echo(f"{place.state.store} is back, with {messages}.", err=True)
    if restored.kept is not None:
        click.echo(f"The store that was there is now {restored.kept}.", err=True)
