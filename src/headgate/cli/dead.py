"""headgate dead"""

from __future__ import annotations

import getpass
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from headgate import limits
from headgate.cli.group import Group
from headgate.cli.letters import Filter, filtered, print_groups, print_letters
from headgate.cli.messages import (
    as_json_text,
    one,
    print_about,
    print_body,
    scope_option,
    timeline_lines,
    timeline_of,
)
from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.clock import SystemClock
from headgate.engine import DEAD, Alteration, Discarded, Queue, Redriven
from headgate.errors import Misuse, NotFound, Refusal
from headgate.message import Message, Moment

if TYPE_CHECKING:
    from headgate.declare.channel import Channel

_AT_ONCE = 100
_SHOWN_REASONS = 10


@click.group(cls=Group)
@stage_option
@placed
def dead(place: Place) -> None:
    """Messages that failed for good, or were let in unread and found bad. Also beside a running server, and of a
    deployed app.

    \b
    Example:
      headgate dead list
      headgate dead redrive orders --all --dry-run
    """


@dead.command(name="list")
@click.argument("channel", required=False)
@filtered
@json_option
@stage_option
@placed
def list_(place: Place, channel: str | None, which: Filter | None, as_json: bool) -> None:
    """Say what went wrong how often: dead letters of CHANNEL, or of every channel, by kind of error and field.

    With one of the options that `redrive` and `discard` take too: those that fit, one by one.

    \b
    Example:
      headgate dead list orders
      headgate dead list orders --kind OSError
    """
    from headgate.gate.redrive import grouped

    channels = place.app.channels if channel is None else [place.channel(channel)]
    with place.rooms() as (_, queue):
        found = (message for one in channels for message in _all_dead(queue, one))
        if which is None:
            print_groups(grouped(found), as_json)
        else:
            print_letters([*filter(which.fits, found)], as_json)


@dead.command
@click.argument("channel")
@click.argument("key")
@scope_option
@json_option
@stage_option
@placed
def show(place: Place, channel: str, key: str, scope: str | None, as_json: bool) -> None:
    """Show one: about it and every attempt, with tracebacks, on stderr; its body on stdout, to the byte.

    \b
    Example:
      headgate dead show orders A-1 > order.json
    """
    message = _dead(place, place.channel(channel), key, scope)
    if as_json:
        print(as_json_text(message, {"timeline": timeline_of(message)}))
        return
    print_about(message)
    for line in timeline_lines(message, whole=True):
        click.echo(f"  {line}", err=True)
    if message.original is not None:
        click.echo(f"original: {visible(message.original.decode('utf-8', 'backslashreplace'))}", err=True)
    print_body(message.body)


@dead.command
@click.argument("channel")
@click.argument("key", required=False)
@scope_option
@filtered
@click.option("--dry-run", is_flag=True, help="Change nothing; say how many would pass, and why others would not.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
@placed
def redrive(
    place: Place, channel: str, key: str | None, scope: str | None, which: Filter | None, dry_run: bool,
    rate: float | None, yes: bool,
) -> int:  # fmt: skip
    """Work dead letters off again, under the same keys, their attempts counted from the start.

    One, by its KEY, or all that fit the options; those of a consumer that is gone from the app stay. Should it be cut
    off, run it again: none is worked off twice.

    \b
    Example:
      headgate dead redrive orders --all --kind OSError --rate 50
    """
    found = place.channel(channel)
    meant = _meant(place, found, key, scope, which)
    if dry_run:
        return _tell_what_would_pass(found, meant)
    places = _redrivable(found, meant)
    if not _agreed(f"Redrive {_count(len(places))} of {found.path}?", yes or key is not None):
        return 1
    return _alter_all(place, found, places, Redriven(_moment("redriven")), rate)


@dead.command
@click.argument("channel")
@click.argument("key")
@scope_option
@click.option("--body", "file", type=click.File("rb"), help="Take the new body from a file, or from - for stdin.")
@stage_option
@placed
def edit(place: Place, channel: str, key: str, scope: str | None, file: IO[bytes] | None) -> int:
    """Give one another body, in $EDITOR. What it came with is kept, and `dead redrive` works the new one off.

    A body that the channel would refuse is not taken.

    \b
    Example:
      headgate dead edit orders A-1 && headgate dead redrive orders A-1
    """
    from headgate.gate.redrive import edited

    found = place.channel(channel)
    message = _dead(place, found, key, scope)
    body = _typed(message.body) if file is None else file.read()
    if body == message.body:
        click.echo("Nothing was changed.", err=True)
        return 1
    try:
        alteration = edited(found, message, body, _moment("edited"))
    except Refusal as error:
        more = [f"{at or 'the body'}: {why}" for at, why, _ in error.faults if why != error.detail]
        raise Misuse("\n".join([error.detail, *more])) from None
    return _alter_all(place, found, [(message.scope, message.key)], alteration)


@dead.command
@click.argument("channel")
@click.argument("key", required=False)
@scope_option
@filtered
@click.option("--reason", required=True, help="Why; it stays with the message.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
@placed
def discard(
    place: Place, channel: str, key: str | None, scope: str | None, which: Filter | None, reason: str, yes: bool,
) -> int:  # fmt: skip
    """Give dead letters up: one, by its KEY, or all that fit the options. They stay readable, with the reason.

    \b
    Example:
      headgate dead discard orders A-1 --reason "a test order"
    """
    found = place.channel(channel)
    places = _places(_meant(place, found, key, scope, which))
    if not _agreed(f"Discard {_count(len(places))} of {found.path}?", yes):
        return 1
    return _alter_all(place, found, places, Discarded(_moment("discarded", reason), found.keep_dead_ms))


# -------------------------------------------------------------------------------------------------- which are meant


def _all_dead(queue: Queue, channel: Channel) -> Iterator[Message]:
    after = None
    while True:
        page = queue.dead(channel.name, limits.PAGE.value, after)
        yield from page.messages
        if (after := page.next) is None:
            return


def _dead(place: Place, channel: Channel, key: str, scope: str | None) -> Message:
    with place.rooms() as (index, _):
        message = one(index, channel, key, scope)
    if message.status not in DEAD:
        raise Misuse(f"{visible(key)} is no dead letter: it is {message.status}.")
    return message


def _meant(
    place: Place, channel: Channel, key: str | None, scope: str | None, which: Filter | None
) -> Iterator[Message]:
    if key is not None and which is None:
        yield _dead(place, channel, key, scope)
    elif key is None and which is not None:
        with place.rooms() as (_, queue):
            yield from filter(which.fits, _all_dead(queue, channel))
    else:
        raise Misuse("Say a KEY; or --all, --kind, --field or --status for all that fit.")


def _places(messages: Iterable[Message]) -> list[tuple[str, str]]:
    return _some([(message.scope, message.key) for message in messages])


def _some(places: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if not places:
        raise NotFound("There is no such dead letter.")
    return places


def _redrivable(channel: Channel, messages: Iterable[Message]) -> list[tuple[str, str]]:
    """The places of those that somebody would work off; of the others it is said that they stay."""
    from headgate.gate.redrive import unworked

    staying = Counter[str]()
    places = []
    for message in messages:
        if (gone := unworked(channel, message)) is None:
            places.append((message.scope, message.key))
        else:
            staying[gone] += 1
    for gone, letters in staying.items():
        click.echo(f"{_count(letters)} will stay: {visible(gone)}.", err=True)
    if staying and not places:
        raise Misuse("Nothing was redriven.")
    return _some(places)


def _count(letters: int) -> str:
    return "1 dead letter" if letters == 1 else f"{letters} dead letters"


def _agreed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise Misuse("There is nobody to ask; say --yes.")
    if click.confirm(question):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def _tell_what_would_pass(channel: Channel, messages: Iterable[Message]) -> int:
    from headgate.gate.redrive import why_not

    reasons = Counter(why_not(channel, message) for message in messages)
    total = reasons.total()
    if not total:
        raise NotFound("There is no such dead letter.")
    print(f"{reasons.pop(None, 0)} of {_count(total)} would pass the gate as they are.")
    for reason, times in reasons.most_common(_SHOWN_REASONS):
        print(f"{times} would not: {visible(str(reason))}")
    return 0


# -------------------------------------------------------------------------------------------------- what is done


def _moment(what: str, detail: str = "") -> Moment:
    return Moment(SystemClock().now_ms(), what, detail=visible(detail), told=f"by {visible(_user())}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody without a name"


def _alter_all(
    place: Place, channel: Channel, places: Sequence[tuple[str, str]], alteration: Alteration, rate: float | None = None
) -> int:
    from headgate.cli.changes import Changes, change

    size = _AT_ONCE if rate is None else max(1, min(_AT_ONCE, round(rate / 10)))

    def alter(changes: Changes) -> int:
        changed, began_s = 0, time.monotonic()
        with _progress(len(places)) as step:
            for at in range(0, len(places), size):
                part = places[at : at + size]
                changed += changes.alter(channel.name, part, alteration)
                step(len(part))
                if rate is not None and at + size < len(places):
                    time.sleep(max(0.0, began_s + (at + size) / rate - time.monotonic()))
        return changed

    changed = change(place, alter)
    click.echo(f"{changed} {alteration.moment.what}.", err=True)
    if changed < len(places):
        click.echo(f"{len(places) - changed} were no dead letters any more.", err=True)
    return 0 if changed else 1


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, where it is worth one; the function moves it on."""
    if total <= _AT_ONCE or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


def _typed(body: bytes) -> bytes:
    """A body as it comes back from the editor, without the line end that editors add."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body.json"
        file.write_bytes(body)
        click.edit(filename=str(file))
        typed = file.read_bytes()
    return typed.removesuffix(b"\n") if not body.endswith(b"\n") else typed
