"""headgate replay"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from headgate.cli.place import Place, placed, stage_option, visible
from headgate.cli.stream import after_of, shards_of, streamed
from headgate.errors import Misuse

if TYPE_CHECKING:
    from headgate.declare.channel import Channel

_LOOK_EVERY_S = 0.2
_RANGE = "start, latest, a time (2026-01-31T12:00:00Z), or a sequence number"


@click.command
@click.argument("channel")
@click.argument("consumer")
@click.option("--from", "start", required=True, metavar="WHERE", help=f"The first record is behind this: {_RANGE}.")
@click.option("--to", "end", default="latest", show_default=True, metavar="WHERE", help="The last record is before it.")
@click.option("--shard", "only", metavar="SHARD", help="Only this shard; sequence numbers are those of one.")
@click.option("--dry-run", is_flag=True, help="Only say how many records it would be.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the consumer has read them.")
@stage_option
@placed
def replay(
    place: Place, channel: str, consumer: str, start: str, end: str, only: str | None, dry_run: bool, no_wait: bool
) -> int:
    """Let CONSUMER read a range of CHANNEL once more. Other consumers do not notice, and what is new goes on
    meanwhile.

    In a deployed app it is this command that hands the records over; should it be cut off, it says how to go on.

    \b
    Example:
      headgate replay events totals --from 2026-01-31T12:00:00Z --dry-run
    """
    found = streamed(place, channel)
    names = [handler.name for handler in found.handlers]
    if consumer not in names:
        known = ", ".join(names) or "none"
        raise Misuse(f"{found.path} has no consumer {visible(consumer)}; it has {known}.")
    if place.stage is not None:
        if no_wait:
            raise Misuse("In a deployed app this command hands the records over itself: leave --no-wait out.")
        from headgate.cli.replay_in_stage import replay_in_stage

        return replay_in_stage(place, found, consumer, start, end, only, dry_run=dry_run)
    ranges, records = _ranges(place, found, start, end, only)
    if dry_run:
        print(f"{count(records)} would go to {consumer}.")
        return 0
    if not ranges:
        click.echo("There is no record in that range.", err=True)
        return 1
    from headgate.cli.changes import change

    replays = change(place, lambda changes: changes.replay(found.name, consumer, ranges))
    holder = place.state.holder()
    if holder is None or no_wait:
        later = "when the app is served" if holder is None else "from now on"
        print(f"{count(records)} will go to {consumer} {later}.")
        return 0
    _wait(place, found.name, consumer, set(replays), records)
    print(f"{count(records)} went to {consumer}.")
    return 0


def _ranges(
    place: Place, channel: Channel, start: str, end: str, only: str | None
) -> tuple[dict[str, tuple[str | None, str]], int]:
    """The range in each shard that has records in it, and how many they are together."""
    from headgate.local.stream import Lane

    ranges: dict[str, tuple[str | None, str]] = {}
    records = 0
    with place.local_stream() as stream:
        for shard in shards_of(stream, channel, only):
            after = after_of(stream, channel.name, shard, start)
            until = after_of(stream, channel.name, shard, end)
            count = 0 if until is None else stream.waiting(channel.name, Lane(shard, until=until), after)[0]
            if until is not None and count:
                ranges[shard] = after, until
                records += count
    return ranges, records


def _wait(place: Place, channel: str, consumer: str, replays: set[int], records: int) -> None:
    """Until it is done, with a bar on a terminal. Whoever stops waiting does not stop the replay."""
    from rich.console import Console
    from rich.progress import Progress

    with (
        place.local_stream() as stream,
        Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar,
    ):
        task = bar.add_task("", total=records)
        while left := [one for one in stream.progress(channel, consumer) if one.lane.replay in replays]:
            bar.update(task, completed=records - sum(one.behind for one in left))
            time.sleep(_LOOK_EVERY_S)


def count(records: int) -> str:
    return "1 record" if records == 1 else f"{records} records"
