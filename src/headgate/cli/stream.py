"""headgate stream"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

import click

from headgate.cli.messages import in_ascii
from headgate.cli.place import Place, json_option, placed, visible
from headgate.clock import isoformat
from headgate.errors import Misuse

if TYPE_CHECKING:
    from headgate.declare.channel import Channel
    from headgate.engine import Record, Stream

_PAGE = 500
_SHOWN = 80


@click.group
@placed
def stream(place: Place) -> None:
    """Read the records of a stream; also beside a running server.

    \b
    Example:
      headgate stream read events --from latest
    """


@stream.command
@click.argument("channel")
@click.option(
    "--from",
    "start",
    default="start",
    show_default=True,
    metavar="WHERE",
    help="start, latest, a time (2026-01-31T12:00:00Z), or the sequence number before the first.",
)
@click.option("--shard", metavar="SHARD", help="Only this shard.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@json_option
@placed
def read(place: Place, channel: str, start: str, shard: str | None, limit: int, as_json: bool) -> None:
    """Print records, each shard's in its order, all by the time they were received.

    \b
    Example:
      headgate stream read events --from 2026-01-31T12:00:00Z --json
    """
    found = place.channel(channel)
    if not found.stream:
        raise Misuse(f"{found.path} has no stream; `headgate messages list {found.name}` lists its messages.")
    with place.stream() as stream:
        shards = stream.shards(found.name)
        if shard is not None and shard not in shards:
            raise Misuse(f"{visible(shard)} is not a shard of {found.path}; it has {', '.join(shards)}.")
        records = islice(_records(stream, found, [shard] if shard else shards, start), limit)
        for record in records:
            print(_as_json(record) if as_json else _as_line(record))


def _records(stream: Stream, channel: Channel, shards: list[str], start: str) -> Iterator[Record]:
    each = [_shard(stream, channel.name, shard, _after(stream, channel.name, shard, start)) for shard in shards]
    return merge(*each, key=lambda record: record.message.received_ms)


def _shard(stream: Stream, channel: str, shard: str, after: str | None) -> Iterator[Record]:
    while page := stream.read(channel, shard, after, _PAGE):
        yield from page
        after = page[-1].place.sequence


def _after(stream: Stream, channel: str, shard: str, start: str) -> str | None:
    match start:
        case "start":
            return None
        case "latest":
            return stream.position(channel, shard, None)
        case number if number.isascii() and number.isdigit():
            return number
        case time:
            return stream.position(channel, shard, _ms(time))


def _ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(
            f"--from {visible(text)}: say start, latest, a time such as 2026-01-31T12:00:00Z, or a sequence number."
        ) from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _as_json(record: Record) -> str:
    message = record.message
    told = {
        "shard": record.place.shard,
        "sequence": record.place.sequence,
        "partition_key": message.order,
        "id": message.key,
        "received_at": isoformat(message.received_ms),
        "principal": message.principal,
        "request_id": message.request_id,
    }
    return f'{json.dumps(told)[:-1]}, "body": {in_ascii(message.body)}}}'


def _as_line(record: Record) -> str:
    message = record.message
    body = message.body.decode("utf-8", "backslashreplace")
    short = body if len(body) <= _SHOWN else f"{body[: _SHOWN - 3]}..."
    told = (
        isoformat(message.received_ms),
        record.place.shard,
        record.place.sequence,
        visible(message.key),
        visible(short),
    )
    return "  ".join(told)
