"""headgate keys"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headgate.cli.group import Group
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.cli.token import Span
from headgate.clock import isoformat
from headgate.errors import Misuse, NotFound

if TYPE_CHECKING:
    from headgate.engine import ApiKeyRow
    from headgate.local.keys import IamKeyRow


@click.group(cls=Group, invoke_without_command=True)
@json_option
@stage_option
@placed
@click.pass_context
def keys(context: click.Context, place: Place, as_json: bool) -> None:
    """Show the development credentials; create, list and revoke API keys and access keys.

    What dev made up is shown in full. Keys made by `keys create` are shown once. Of a deployed app it is shown where
    in Secrets Manager its secrets lie.

    \b
    Example:
      headgate keys --json
    """
    if context.invoked_subcommand is not None:
        return
    if place.stage is not None:
        _print_secrets(place, as_json)
        return
    credentials = place.state.credentials()
    if as_json:
        print(json.dumps(credentials, indent=2))
        return
    rows = [("secret", name, value) for name, value in credentials["secrets"].items()]
    rows += [("API key", channel, key) for channel, key in credentials["api_keys"].items()]
    if iam := credentials.get("iam"):
        rows.append(("access key", f"{iam['region']}, {iam['service']}", iam["access_key_id"]))
        rows.append(("its secret", "", iam["secret_access_key"]))
    if rows:
        print_table(("KIND", "FOR", "VALUE"), rows)
    else:
        click.echo("Nothing was made up yet: `headgate dev` does it where something is missing.", err=True)


@keys.command
@click.argument("channel")
@click.option("--name", default="", help="What to call it in lists.")
@click.option("--session", type=Span(), metavar="SPAN", help="Iam: a temporary key with a session token, good so long.")
@json_option
@stage_option
@placed
def create(place: Place, channel: str, name: str, session: int | None, as_json: bool) -> None:
    """Create a key for CHANNEL and print it, once, alone on stdout.

    For an Iam channel that is an access key, as environment variables that the tools of AWS read. A running server
    takes it at once.

    \b
    Examples:
      headgate keys create orders --name "Acme Ltd"
      headgate keys create requests --session 12h > acme.env
    """
    from headgate.cli.changes import change
    from headgate.declare.auth import ApiKey, Iam

    found = place.channel(channel)
    match found.auth:
        case ApiKey() if session is None:
            key = change(place, lambda changes: changes.create_key(found.name, name))
            print(json.dumps({"key": key}) if as_json else key)
            click.echo("Keep it now: it is stored as a hash and cannot be shown again.", err=True)
        case Iam() as iam:
            row = change(place, lambda changes: changes.create_iam_key(found.name, name, session or 0))
            said = row.environment()
            if as_json:
                print(json.dumps({**said, "AWS_REGION": iam.region}))
            else:
                print("\n".join(f"{variable}={value}" for variable, value in said.items()))
            click.echo(f"Keep it now, it is not shown again. Sign for {iam.region} and {iam.service}.", err=True)
        case ApiKey():
            raise Misuse(f"{found.path} takes API keys, which do not expire; leave --session out.")
        case _:
            raise Misuse(f"{found.path} does not take API keys; declare it with auth=ApiKey().")


@keys.command(name="list")
@json_option
@stage_option
@placed
def list_(place: Place, as_json: bool) -> None:
    """List the API keys and access keys; never the keys themselves.

    \b
    Example:
      headgate keys list --json
    """
    rows = sorted(_rows(place), key=lambda row: (row.created_ms, row.id))
    listed = [
        {"id": row.id, "channel": row.channel, "name": row.name, "created_at": isoformat(row.created_ms)}
        for row in rows
    ]
    if as_json:
        print(json.dumps(listed, indent=2))
    elif listed:
        print_table(("ID", "CHANNEL", "NAME", "CREATED"), [tuple(row.values()) for row in listed])
    else:
        click.echo("There is no key yet; `headgate keys create CHANNEL` makes one.", err=True)


@keys.command
@click.argument("id")
@stage_option
@placed
def revoke(place: Place, id: str) -> None:
    """Revoke the key with this ID: from now on it opens nothing.

    \b
    Example:
      headgate keys revoke 4fYtq1o0Zb3K
    """
    from headgate.cli.changes import change

    if key := re.fullmatch(r"hg_([0-9A-Za-z]+)_.*", id):
        raise Misuse(f"That is the key itself; say its ID alone, the part in the middle: {key[1]}.")
    # An id is part of an address, and of ours none has anything but letters and digits.
    there = id.isascii() and id.isalnum() and (place.stage is not None or place.state.store.exists())
    if not there or not change(place, lambda changes: changes.revoke_key(id)):
        raise NotFound(f"There is no key with the id {visible(id)}; `headgate keys list` shows them.")
    click.echo(f"The key {id} is revoked.", err=True)


def _rows(place: Place) -> Sequence[ApiKeyRow | IamKeyRow]:
    if place.stage is not None:
        with place.deployed.keys() as deployed:
            return deployed.api_keys()
    from headgate.local.keys import load_iam_keys, load_keys
    from headgate.local.schema import open_reading

    if not place.state.store.exists():
        return []
    connection = open_reading(place.state.store)
    try:
        return [*load_keys(connection), *load_iam_keys(connection)]
    finally:
        connection.close()


def _print_secrets(place: Place, as_json: bool) -> None:
    arns = place.deployed.secret_arns()
    if as_json:
        print(json.dumps({"secrets": arns}, indent=2))
    elif arns:
        print_table(("SECRET", "IN SECRETS MANAGER"), list(arns.items()))
    else:
        click.echo("The app names no secrets; `headgate keys list` has the API keys.", err=True)
