"""headgate stream"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import click

from headgate.cli.group import Group
from headgate.cli.messages import in_ascii
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.errors import Misuse

if TYPE_CHECKING:
    from headgate.declare.channel import Channel
    from headgate.engine import Record, Stream
    from headgate.local.stream import LocalStream

_PAGE = 500
_SHOWN = 80


class Far(NamedTuple):
    """How far a consumer is, as scripts are told it; None is what nobody knows, or what is not there."""

    channel: str
    consumer: str
    shard: str | None = None
    replay: int | None = None
    checkpoint: str | None = None
    behind: int | None = None
    lag_ms: int | None = None


@click.group(cls=Group)
@stage_option
@placed
def stream(place: Place) -> None:
    """Read the records of a stream; also beside a running server, and of a deployed app.

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
@stage_option
@placed
def read(place: Place, channel: str, start: str, shard: str | None, limit: int, as_json: bool) -> None:
    """Print records, each shard's in its order, all by the time they were received.

    \b
    Example:
      headgate stream read events --from 2026-01-31T12:00:00Z --json
    """
    found = streamed(place, channel)
    with place.stream() as log:
        records = islice(_records(log, found, shards_of(log, found, shard), start), limit)
        for record in records:
            print(_as_json(record) if as_json else _as_line(record))


@stream.command
@click.argument("channel", required=False)
@json_option
@stage_option
@placed
def status(place: Place, channel: str | None, as_json: bool) -> None:
    """Say how far the consumers of CHANNEL are, or those of all: how many records wait for each, and for how long.

    Of a deployed app AWS tells the time alone, for all shards together.

    \b
    Example:
      headgate stream status events
    """
    channels = [streamed(place, channel)] if channel else [one for one in place.app.channels if one.stream]
    with place.local_stream() if place.stage is None else nullcontext() as log:
        found = [far for one in channels for far in (_far_in_stage(place, one) if log is None else _far(log, one))]
    if as_json:
        print(json.dumps({"consumers": [far._asdict() for far in found]}))
        return
    if not found:
        click.echo("There is no consumer.", err=True)
        return
    rows = [
        (
            far.channel, far.consumer, _shown(far.shard), _shown(far.replay), _shown(far.checkpoint),
            _shown(far.behind), "-" if far.lag_ms is None else f"{far.lag_ms / 1000:.1f}",
        )
        for far in found
    ]  # fmt: skip
    print_table(("CHANNEL", "CONSUMER", "SHARD", "REPLAY", "CHECKPOINT", "BEHIND", "LAG (S)"), rows)


def _far(stream: LocalStream, channel: Channel) -> Iterator[Far]:
    for handler in channel.handlers:
        for (shard, replay, _), after, behind, lag_ms in stream.progress(channel.name, handler.name):
            yield Far(channel.name, handler.name, shard, replay, after, behind, lag_ms)


def _far_in_stage(place: Place, channel: Channel) -> Iterator[Far]:
    for consumer, lag_ms in place.deployed.readers(channel):
        yield Far(channel.name, consumer, lag_ms=lag_ms)


def _shown(fact: object) -> str:
    return "-" if fact is None else str(fact)


def streamed(place: Place, name: str) -> Channel:
    """The channel of that name or path. Raises Misuse unless it has a stream."""
    found = place.channel(name)
    if not found.stream:
        raise Misuse(f"{found.path} has no stream; `headgate messages list {found.name}` lists its messages.")
    return found


def shards_of(stream: Stream, channel: Channel, only: str | None) -> list[str]:
    """The shards that are meant. Raises Misuse."""
    shards = stream.shards(channel.name)
    if only is not None and only not in shards:
        raise Misuse(f"{visible(only)} is not a shard of {channel.path}; it has {', '.join(shards)}.")
    return shards if only is None else [only]


def _records(stream: Stream, channel: Channel, shards: list[str], start: str) -> Iterator[Record]:
    each = [_shard(stream, channel.name, shard, after_of(stream, channel.name, shard, start)) for shard in shards]
    return merge(*each, key=lambda record: record.message.received_ms)


def _shard(stream: Stream, channel: str, shard: str, after: str | None) -> Iterator[Record]:
    while page := _page(stream, channel, shard, after):
        yield from page
        after = page[-1].place.sequence


def _page(stream: Stream, channel: str, shard: str, after: str | None) -> list[Record]:
    try:
        return stream.read(channel, shard, after, _PAGE)
    except ValueError:
        raise Misuse(f"{after} is not a sequence number of {shard}; say which --shard it is of.") from None


def after_of(stream: Stream, channel: str, shard: str, start: str) -> str | None:
    """The sequence behind which a place that somebody named is. Raises Misuse."""
    match start:
        case "start":
            return None
        case "latest":
            return stream.position(channel, shard, None)
        case number if number.isascii() and number.isdigit():
            return number
        case time:
            return stream.position(channel, shard, ms_of(time))


def ms_of(text: str) -> int:
    """A time that somebody named. Raises Misuse."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(
            f"{visible(text)} is no place in a stream: say start, latest, a time such as"
            " 2026-01-31T12:00:00Z, or a sequence number."
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
    body = in_ascii(message.body).replace("\r", " ").replace("\n", " ")  # between its parts; a text has none
    return f'{json.dumps(told)[:-1]}, "body": {body}}}'


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
