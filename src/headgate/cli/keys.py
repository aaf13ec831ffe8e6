"""headgate keys"""

from __future__ import annotations

import json

import click

from headgate.cli.place import Place, json_option, placed, visible
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.errors import Misuse, NotFound


@click.group(invoke_without_command=True)
@json_option
@placed
@click.pass_context
def keys(context: click.Context, place: Place, as_json: bool) -> None:
    """Show the development credentials; create, list and revoke API keys.

    What dev made up is shown in full. Keys made by `keys create` are shown once, and kept as a hash.

    \b
    Example:
      headgate keys --json
    """
    if context.invoked_subcommand is not None:
        return
    credentials = place.state.credentials()
    if as_json:
        print(json.dumps(credentials, indent=2))
        return
    rows = [("secret", name, value) for name, value in credentials["secrets"].items()]
    rows += [("API key", channel, key) for channel, key in credentials["api_keys"].items()]
    if rows:
        print_table(("KIND", "FOR", "VALUE"), rows)
    else:
        click.echo("Nothing was made up yet: `headgate dev` does it where something is missing.", err=True)


@keys.command
@click.argument("channel")
@click.option("--name", default="", help="What to call it in lists.")
@placed
def create(place: Place, channel: str, name: str) -> None:
    """Create an API key for CHANNEL and print it, once, alone on stdout.

    A running server takes it at once.

    \b
    Example:
      headgate keys create orders --name "Acme Ltd"
    """
    from headgate.cli.changes import change
    from headgate.declare.auth import ApiKey

    found = place.channel(channel)
    if not isinstance(found.auth, ApiKey):
        raise Misuse(f"{found.path} does not take API keys; declare it with auth=ApiKey().")
    print(change(place, lambda changes: changes.create_key(found.name, name)))
    click.echo("Keep it now: it is stored as a hash and cannot be shown again.", err=True)


@keys.command(name="list")
@json_option
@placed
def list_(place: Place, as_json: bool) -> None:
    """List the API keys; never the keys themselves.

    \b
    Example:
      headgate keys list --json
    """
    from headgate.local.keys import load_keys
    from headgate.local.schema import open_reading

    rows = []
    if place.state.store.exists():
        connection = open_reading(place.state.store)
        try:
            rows = sorted(load_keys(connection), key=lambda row: (row.created_ms, row.id))
        finally:
            connection.close()
    listed = [
        {"id": row.id, "channel": row.channel, "name": row.name, "created_at": isoformat(row.created_ms)}
        for row in rows
    ]
    if as_json:
        print(json.dumps(listed, indent=2))
    elif listed:
        print_table(("ID", "CHANNEL", "NAME", "CREATED"), [tuple(row.values()) for row in listed])
    else:
        click.echo("There is no API key yet; `headgate keys create CHANNEL` makes one.", err=True)


@keys.command
@click.argument("id")
@placed
def revoke(place: Place, id: str) -> None:
    """Revoke the API key with this ID: from now on it opens nothing.

    \b
    Example:
      headgate keys revoke 4fYtq1o0Zb3K
    """
    from headgate.cli.changes import change

    # An id is part of an address, and of ours none has anything but letters and digits.
    if not (id.isascii() and id.isalnum() and place.state.store.exists()) or not change(
        place, lambda changes: changes.revoke_key(id)
    ):
        raise NotFound(f"There is no API key with the id {visible(id)}; `headgate keys list` shows them.")
    click.echo(f"The key {id} is revoked.", err=True)
