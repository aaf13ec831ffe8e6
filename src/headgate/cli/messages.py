"""headgate messages"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate import limits
from headgate.cli.cause import cause_lines
from headgate.cli.group import Group
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.errors import Misuse, NotFound

if TYPE_CHECKING:
    from headgate.aws.index import DynamoIndex
    from headgate.declare.channel import Channel
    from headgate.engine import Page
    from headgate.local.index import LocalIndex
    from headgate.message import Message

scope_option = click.option(
    "--scope",
    metavar="PRINCIPAL",
    help="Whose key it is: a sender's, where several may use the same; of a stream's dead letter, its consumer's.",
)

_BEYOND_ASCII = re.compile(r"[^\t\n\r\x20-\x7e]")


@click.group(cls=Group)
@stage_option
@placed
def messages(place: Place) -> None:
    """List, show and delete stored messages; also beside a running server, and of a deployed app.

    \b
    Example:
      headgate messages list orders --where customer=7
    """


@messages.command(name="list")
@click.argument("channel", required=False)
@click.option("--where", metavar="FIELD=VALUE", help="Only those whose declared index FIELD has VALUE.")
@click.option("--limit", type=click.IntRange(1, limits.PAGE.value), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Where the page before ended.")
@json_option
@stage_option
@placed
def list_(place: Place, channel: str | None, where: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List messages, newest first: of CHANNEL, or of all.

    \b
    Example:
      headgate messages list orders --where customer=7 --json
    """
    found = None if channel is None else place.channel(channel)
    if where is not None:
        found, field, value = _asked(place, found, where)
    with place.index() as index:
        try:
            if found is None:
                page = index.newest(limit, cursor)
            elif where is None:
                page = index.find(found.name, None, None, None, limit, cursor)
            else:
                page = index.find(found.name, None, field, value, limit, cursor)
        except ValueError:
            raise Misuse("--cursor is not one that a list gave.") from None
    if as_json:
        items = ",\n".join(as_json_text(message) for message in page.messages)
        print(f'{{"items": [{items}], "cursor": {json.dumps(page.next)}}}')
    else:
        _print_page(page)


@messages.command
@click.argument("channel")
@click.argument("key")
@scope_option
@json_option
@stage_option
@placed
def show(place: Place, channel: str, key: str, scope: str | None, as_json: bool) -> None:
    """Show one message: about it on stderr, its body on stdout, to the byte as it came.

    \b
    Example:
      headgate messages show orders A-1 > order.json
    """
    found = place.channel(channel)
    with place.rooms() as (index, queue):
        message = one(index, found, key, scope)
        next_ms = queue.put_off_until_ms(*message[:3]) if message.status == "accepted" else None
    next_at = None if next_ms is None else isoformat(next_ms)
    if as_json:
        print(as_json_text(message, {"next_attempt_at": next_at, "timeline": timeline_of(message)}))
        return
    print_about(message)
    if next_at is not None:
        click.echo(f"next_attempt_at: {next_at}", err=True)
    for line in timeline_lines(message):
        click.echo(f"  {line}", err=True)
    print_body(message.body)


@messages.command
@click.argument("channel")
@click.argument("key")
@scope_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
@placed
def delete(place: Place, channel: str, key: str, scope: str | None, yes: bool) -> int:
    """Delete one message for good; its key is free again.

    \b
    Example:
      headgate messages delete orders A-1
    """
    from headgate.cli.changes import change

    found = place.channel(channel)
    with place.index() as index:
        message = one(index, found, key, scope)
    if not yes and not sys.stdin.isatty():
        raise Misuse("There is nobody to ask; say --yes.")
    if not yes and not click.confirm(
        f"Delete {visible(key)} of {found.path}, received {isoformat(message.received_ms)}?"
    ):
        click.echo("Nothing was deleted.", err=True)
        return 1
    if not change(place, lambda changes: changes.delete_message(found.name, message.scope, key)):
        raise NotFound(f"{visible(key)} was gone already.")
    click.echo("Deleted.", err=True)
    return 0


def about(message: Message) -> dict[str, Any]:
    """What is known of a message, but for its body."""
    return {
        "channel": message.channel,
        "key": message.key,
        "scope": message.scope,
        "status": message.status,
        "received_at": isoformat(message.received_ms),
        "expires_at": None if message.expires_ms is None else isoformat(message.expires_ms),
        "size_bytes": len(message.body),
        "principal": message.principal,
        "request_id": message.request_id,
        "traceparent": message.traceparent,
        "attempts": message.attempts,
        "error": message.error,
    }


def print_about(message: Message) -> None:
    """What is known of a message, on stderr."""
    for name, value in about(message).items():
        if value is not None and value != "":
            click.echo(f"{name}: {visible(str(value))}", err=True)


def print_body(body: bytes) -> None:
    """A body on stdout: to the byte as it came, or, on a terminal, so that it does no harm."""
    if sys.stdout.isatty():
        print(visible(body.decode("utf-8", "backslashreplace"), also="\t\n"))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(body)


def timeline_of(message: Message) -> list[dict[str, Any]]:
    """What happened to a message, for scripts."""
    from headgate.gate.query import moments_of

    return [
        {
            "at": isoformat(moment.at_ms),
            "what": moment.what,
            "attempt": moment.attempt or None,
            "took_ms": moment.took_ms,
            "detail": moment.detail,
            "kind": moment.kind,
            "pointer": moment.pointer,
            "told": moment.told,
        }
        for moment in moments_of(message)
    ]


def timeline_lines(message: Message, *, whole: bool = False) -> Iterator[str]:
    """What happened to a message, for people; if `whole`, with every traceback."""
    for moment in timeline_of(message):
        attempt = f" (attempt {moment['attempt']})" if moment["attempt"] else ""
        took = f" after {moment['took_ms']} ms" if moment["took_ms"] else ""
        why = ": ".join(filter(None, (f"{moment['kind']} {moment['pointer']}".strip(), moment["detail"])))
        yield visible(f"{moment['at']} {moment['what']}{attempt}{took}{'  ' if why else ''}{why}")
        if whole:
            yield from (f"    {visible(line)}" for line in cause_lines(moment["told"]))


def as_json_text(message: Message, more: Mapping[str, Any] | None = None) -> str:
    """A message as JSON, with `more` that is known of it. Its body stands in it with its numbers as they came."""
    from headgate.gate.query import body_as_json

    told = {**about(message), **(more or {})}
    return f'{json.dumps(told)[:-1]}, "body": {in_ascii(body_as_json(message.body))}}}'


def in_ascii(body: bytes) -> str:
    """The same JSON in ASCII, which no terminal takes for a command."""
    return _BEYOND_ASCII.sub(lambda char: json.dumps(char[0])[1:-1], body.decode()).replace("\x7f", "\\u007f")


def _asked(place: Place, channel: Channel | None, where: str) -> tuple[Channel, str, str]:
    """The channel, the name of its index, and the value, of --where."""
    if channel is None:
        if len(place.app.channels) > 1:
            raise Misuse("Say which channel: indexes are declared per channel.")
        (channel,) = place.app.channels
    field, equals, value = where.partition("=")
    if not equals:
        raise Misuse(f"--where {visible(where)}: say FIELD=VALUE.")
    for index in channel.indexes:
        if field in (index.name, index.dotted):
            return channel, index.name, value
    known = ", ".join(index.name for index in channel.indexes) or "none"
    raise Misuse(f"{visible(field)} is not an index of {channel.path}; declared with `indexes=`: {known}.")


def one(index: LocalIndex | DynamoIndex, channel: Channel, key: str, scope: str | None) -> Message:
    scopes = [scope or ""]
    if scope is None and (channel.per_principal or channel.stream):
        scopes = index.scopes(channel.name, key)
    if len(scopes) > 1:
        named = ", ".join(visible(scope) or "''" for scope in scopes)
        who = "Several consumers have" if channel.stream else "Several senders used"
        raise Misuse(f"{who} the key {visible(key)}: {named}. Say whose with --scope.")
    message = index.get(channel.name, scopes[0], key) if scopes else None
    if message is None:
        raise NotFound(f"There is no message {visible(key)} in {channel.path}.")
    return message


def _print_page(page: Page) -> None:
    rows = [
        (
            message.channel,
            message.key,
            message.status,
            isoformat(message.received_ms),
            str(len(message.body)),
            message.principal,
        )
        for message in page.messages
    ]
    if not rows:
        click.echo("There is no message.", err=True)
        return
    print_table(("CHANNEL", "KEY", "STATUS", "RECEIVED", "BYTES", "PRINCIPAL"), rows)
    if page.next is not None:
        click.echo(f"There is more: add --cursor {page.next}", err=True)
