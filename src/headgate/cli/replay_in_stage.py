"""headgate replay, in a deployed app: records are read from Kinesis and handed to the consumer's function from here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from headgate.aws.replay import Range, Replaying, StuckError
from headgate.cli.place import Place
from headgate.cli.replay import count
from headgate.cli.stream import ms_of, shards_of
from headgate.clock import SystemClock, isoformat

if TYPE_CHECKING:
    from headgate.declare.channel import Channel


def replay_in_stage(
    place: Place, channel: Channel, consumer: str, start: str, end: str, only: str | None, *, dry_run: bool
) -> int:
    """Hand a range over, shard by shard, and say how far it came where it did not come to its end."""
    with place.deployed.replaying(channel, consumer) as replaying:
        ranges = [_range(shard, start, end) for shard in shards_of(replaying.stream, channel, only)]
        if dry_run:
            records = sum(1 for range_ in ranges for _ in replaying.read(range_))
            print(f"{count(records)} would go to {consumer}.")
            return 0
        left = list(ranges)
        try:
            records = _hand_over(replaying, left)
        except StuckError as stuck:
            click.echo(f"{consumer} does not get past the record {stuck.sequence}: {stuck.why}.", err=True)
            _tell_how_to_go_on(place, channel, consumer, left)
            return 1
        except BaseException:  # also what is pressed on the keyboard
            _tell_how_to_go_on(place, channel, consumer, left)
            raise
    if not records:
        click.echo("There is no record in that range.", err=True)
        return 1
    print(f"{count(records)} went to {consumer}.")
    return 0


def _hand_over(replaying: Replaying, left: list[Range]) -> int:
    """How many records were handed over. What is left of the ranges is kept up to date meanwhile."""
    records = 0
    with _progress() as step:
        while left:
            for handed in replaying.hand_over(left[0]):
                records += handed.records
                left[0] = left[0]._replace(after=handed.sequence)
                step(records, f"{left[0].shard} {handed.sequence}")
            left.pop(0)
    return records


def _range(shard: str, start: str, end: str) -> Range:
    """A range as somebody named it. Raises Misuse."""
    now_ms = SystemClock().now_ms()
    found = Range(shard)
    match start:
        case "start":
            pass
        case "latest":
            found = found._replace(since_ms=now_ms)
        case number if number.isascii() and number.isdigit():
            found = found._replace(after=number)
        case time:
            found = found._replace(since_ms=ms_of(time))
    match end:
        case "start":
            return found._replace(before_ms=0)
        case "latest":
            return found._replace(before_ms=now_ms)
        case number if number.isascii() and number.isdigit():
            return found._replace(until=number)
        case time:
            return found._replace(before_ms=ms_of(time))


def _tell_how_to_go_on(place: Place, channel: Channel, consumer: str, left: Sequence[Range]) -> None:
    click.echo("To go on from here:", err=True)
    for shard, after, since_ms, until, before_ms in left:
        start = after or ("start" if since_ms is None else isoformat(since_ms))
        end = until or ("latest" if before_ms is None else isoformat(before_ms))
        words = (
            f"{channel.name} {consumer} --stage {place.deployed.stage.name} --shard {shard} --from {start} --to {end}"
        )
        click.echo(f"  headgate replay {words}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, str], None]]:
    """On a terminal, how many there were and where it is; how many there will be nobody has counted."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda records, where: status.update(f"{count(records)}, up to {where}")
