"""Dead letters, as they are told: in groups, or one by one; and the options that say which."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, NamedTuple

import click

from headgate.cli.messages import about
from headgate.cli.table import print_table
from headgate.clock import isoformat
from headgate.engine import DEAD
from headgate.message import Message

if TYPE_CHECKING:
    from headgate.gate.redrive import Group


class Filter(NamedTuple):
    """Which dead letters are meant; empty is any."""

    kind: str
    field: str
    status: str

    def fits(self, message: Message) -> bool:
        """Whether one of them is."""
        from headgate.gate.redrive import end_of

        end = end_of(message)
        return self.kind in ("", end.kind) and self.field in ("", end.pointer) and self.status in ("", message.status)


def filtered(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command the options that say which dead letters are meant, when no KEY does: as `which`, None where none
    of them is said."""

    @wraps(command)
    def with_filter(
        *words: object, every: bool, kind: str, field: str, status: str | None, **options: object
    ) -> object:
        which = Filter(kind, field, status or "")
        return command(*words, which=which if every or any(which) else None, **options)

    for option in (
        click.option("--status", type=click.Choice(DEAD), help="Only those with this status."),
        click.option(
            "--field", metavar="POINTER", default="", help="Only those that failed at this field, as in /amount."
        ),
        click.option("--kind", default="", help="Only those that failed so, as `dead list` calls it."),
        click.option("--all", "every", is_flag=True, help="All that fit the other options."),
    ):
        option(with_filter)
    return with_filter


def print_letters(letters: Sequence[Message], as_json: bool) -> None:
    """One by one: a line each, or JSON."""
    from headgate.gate.redrive import end_of

    ends = [end_of(message) for message in letters]
    if as_json:
        told = [
            {**about(message), "kind": end.kind, "field": end.pointer, "ended_at": isoformat(end.at_ms)}
            for message, end in zip(letters, ends, strict=True)
        ]
        print(json.dumps({"items": told}))
        return
    if not letters:
        click.echo("There is no such dead letter.", err=True)
        return
    rows = [
        (
            message.channel,
            message.key,
            message.scope or "-",
            message.status,
            end.kind,
            end.pointer or "-",
            str(message.attempts),
            isoformat(end.at_ms),
            message.error or "",
        )
        for message, end in zip(letters, ends, strict=True)
    ]
    print_table(("CHANNEL", "KEY", "SCOPE", "STATUS", "KIND", "FIELD", "ATTEMPTS", "ENDED", "ERROR"), rows)


def print_groups(groups: Sequence[Group], as_json: bool) -> None:
    """By kind of error and field: a line each, or JSON."""
    if as_json:
        told = [
            {
                "channel": group.channel,
                "kind": group.kind,
                "field": group.pointer,
                "count": group.letters,
                "first": isoformat(group.first_ms),
                "last": isoformat(group.last_ms),
                "sample": group.sample.key,
                "error": group.sample.error,
            }
            for group in groups
        ]
        print(json.dumps({"groups": told}))
        return
    if not groups:
        click.echo("There is no dead letter.", err=True)
        return
    rows = [
        (
            group.channel,
            group.kind,
            group.pointer or "-",
            str(group.letters),
            isoformat(group.first_ms),
            isoformat(group.last_ms),
            group.sample.key,
            group.sample.error or "",
        )
        for group in groups
    ]
    print_table(("CHANNEL", "KIND", "FIELD", "COUNT", "FIRST", "LAST", "SAMPLE", "ERROR"), rows)
