"""headgate send"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from headgate.cli.place import Place, json_option, placed, stage_option, visible
from headgate.clock import SystemClock
from headgate.errors import HeadgateError, Misuse

if TYPE_CHECKING:
    from random import Random

    from headgate.declare.channel import Channel
    from headgate.testing.credentials import Credentials
    from headgate.testing.sender import Parcel, Sender

UNEXPECTED = 3
_BATCH = 100
_CREDENTIALS = {"authorization", "x-api-key", "webhook-signature", "stripe-signature", "x-hub-signature-256"}


class Headers(click.ParamType[tuple[str, str]]):
    """`Name: value`."""

    name = "header"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, colon, text = str(value).partition(":")
        if not colon or not name.strip():
            self.fail(f"{value!r} is not a header; say 'Name: value'.", param, ctx)
        return name.strip(), text.strip()


@click.command
@click.argument("channel")
@click.argument("body", required=False)
@click.option("-n", "--number", type=click.IntRange(1), metavar="N", help="Make up N messages from the model.")
@click.option(
    "--bad",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="This share of them must be refused; where all or none are stored, of the requests.",
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most N messages a second.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    metavar="N",
    help="Messages in a request, of many.  [default: 100, or fewer for --bad where all or none are stored]",
)
@click.option("--concurrency", type=click.IntRange(1, 1000), default=16, show_default=True, help="Requests at a time.")
@click.option("--seed", type=int, help="The same seed makes up the same messages.")
@click.option("--url", help="Where the app is served.  [default: what serves from the state folder]")
@click.option("-H", "--header", "headers", type=Headers(), multiple=True, help="'Name: value', such as credentials.")
@click.option("--as", "sender", default="test-user", show_default=True, metavar="NAME", help="JWT: who sends.")
@click.option(
    "--patience", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS",
    help="How long to try again when the server is away or busy.",
)  # fmt: skip
@json_option
@stage_option
@placed
def send(
    place: Place,
    channel: str,
    body: str | None,
    number: int | None,
    bad: float,
    rate: float | None,
    batch: int | None,
    concurrency: int,
    seed: int | None,
    url: str | None,
    headers: tuple[tuple[str, str], ...],
    sender: str,
    patience: float,
    as_json: bool,
) -> int:
    """Send BODY (JSON, @FILE, or - for stdin) to CHANNEL (a name or path), or with -n made-up messages.

    What the channel asks of a sender (token, signature, and of the local app a key) is filled in. While the server is
    away or busy the same is sent again under the same key, so nothing is lost or doubled.

    One message: its status goes to stderr, the reply to stdout. Many: a summary. Exit code 3 when one message was
    not taken, or anything of many was unexpected: a good one not taken, a bad one not refused.

    \b
    Examples:
      headgate send notes '{"id": "1", "text": "hello"}'
      headgate send orders -n 10000 --bad 0.1 --seed 7
    """
    from headgate.testing.sender import Sender

    found = place.channel(channel)
    if (body is None) == (number is None):
        raise Misuse("Say what to send: BODY, @FILE or -, or -n N to make messages up.")
    if body is not None and (bad or rate is not None):
        raise Misuse("--bad and --rate are for made-up messages: say -n N in place of BODY.")
    if url is not None and not _is_address(url):
        raise Misuse(f"--url {visible(url)}: say it with http:// or https://, as in http://127.0.0.1:8000.")
    if batch is not None and not found.many:
        raise Misuse(f"--batch is for channels with `many=`; {found.path} takes one message in a request.")
    if batch is not None and not (number is not None and batch <= found.most_items):
        raise Misuse(f"--batch is for made-up messages, -n N of them, up to {found.most_items} in one request.")
    if found.whole and 0 < bad < 1 and 1 < (number or 0) <= (batch or 1):
        raise Misuse(
            f"{found.path} stores all of a request or none, and one request of {number} messages has no share of bad "
            "ones: say a smaller --batch, or a larger -n."
        )
    post = Post(place, found, sender, dict(headers))
    address = _address(place, found, url)
    via = Sender(address, SystemClock(), patience)
    if body is not None:
        parcel = post.parcel(_read(body), [True], str(_chance(seed).getrandbits(64)))
        return _send_one(via, parcel, address, as_json)
    return _send_many(via, list(_made_up(found, post, number or 0, bad, batch, seed)), rate, concurrency, as_json)


class Post:
    """Makes parcels for a channel, with everything a sender has to show."""

    def __init__(self, place: Place, channel: Channel, sender: str, said: dict[str, str]) -> None:
        self._channel = channel
        self._sender = sender
        self._said = {name.lower(): value for name, value in said.items()}
        self._credentials = _credentials(place, channel, self._said.keys())
        self._shown: tuple[int, dict[str, str]] = (-1, {})

    def parcel(self, body: bytes, good: list[bool], id_: str) -> Parcel:
        """A parcel; `id_` becomes its key where the channel takes the key from a header."""
        from headgate.testing.sender import Parcel

        headers = {"content-type": "application/json"}
        if name := _key_header(self._channel):
            id_ = self._said.get(name, id_)
            headers[name] = id_

        def shown(url: str) -> dict[str, str]:
            return {**headers, **self._shown_for(url, body, id_), **self._said}

        return Parcel(body, shown, good, self._channel.many)

    def _shown_for(self, url: str, body: bytes, id_: str) -> dict[str, str]:
        """Credentials that are fresh; those that do not depend on the body are kept for a while."""
        from headgate.declare.auth import Iam, Signed

        if self._credentials is None:
            return {}
        minute = SystemClock().now_ms() // 60_000
        if isinstance(self._channel.auth, Signed | Iam) or self._shown[0] != minute:
            made = self._credentials.headers(self._channel, body, sender=self._sender, id_=id_, url=url)
            self._shown = (minute, {name.lower(): value for name, value in made.items()})
        return self._shown[1]


def _key_header(channel: Channel) -> str:
    """The header that a channel takes the key from, in lower case; empty where the key lies in the body."""
    from headgate.declare.stores import Field
    from headgate.gate.judge import key_header

    return "" if isinstance(channel.key, Field) else key_header(channel).lower()


def _credentials(place: Place, channel: Channel, said: Collection[str]) -> Credentials | None:
    """What fills in credentials; None where the user shows some, or where there is nothing to fill in."""
    from headgate.declare.auth import ApiKey, Iam, Jwt, Signed

    if not _CREDENTIALS.isdisjoint(said):
        return None
    match channel.auth:
        case Jwt(secret=None):
            raise Misuse(f"{channel.path} trusts tokens of another issuer; say -H 'Authorization: Bearer TOKEN'.")
        case Jwt() | ApiKey() | Signed() | Iam():
            return place.credentials(channel)
        case _:
            return None


def _address(place: Place, channel: Channel, url: str | None) -> Callable[[], str]:
    """Where the channel is served. A server of our own state folder may come back under another address."""
    if url is not None:
        return lambda: url.rstrip("/") + channel.path
    if place.stage is not None:
        deployed = place.deployed.url(channel)
        return lambda: deployed
    holder = place.state.holder()
    if holder is None or not holder.url:
        raise Misuse(f"Nothing serves from {place.state.path}: start `headgate dev`, or say --url.")
    last = holder.url

    def address() -> str:
        nonlocal last
        now = place.state.holder()
        last = now.url if now is not None and now.url else last
        return last + channel.path

    return address


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _read(body: str) -> bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    if body.startswith("@"):
        return Path(body[1:]).read_bytes()
    return body.encode("utf-8", "surrogateescape")


def _chance(seed: int | None) -> Random:
    from random import Random

    return Random(seed)  # noqa: S311 - made up, not secret


# ------------------------------------------------------------------------------------------------------- one message


def _send_one(via: Sender, parcel: Parcel, address: Callable[[], str], as_json: bool) -> int:
    import asyncio
    from http.client import responses

    answer = asyncio.run(via.send_one(parcel))
    if isinstance(answer, str):
        raise HeadgateError(f"There was no answer from {visible(address())} ({answer}); is it served there?")
    text = answer.body.decode("utf-8", "replace")
    if as_json:
        print(json.dumps({"status": answer.status, "headers": dict(answer.headers), "body": _parsed(text)}))
    else:
        click.echo(f"{answer.status} {responses.get(answer.status, '')}".rstrip(), err=True)
        print(visible(text, also="\t\n") if sys.stdout.isatty() else text)
    return 0 if 200 <= answer.status < 300 else UNEXPECTED


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


# --------------------------------------------------------------------------------------------------------------- many


def _made_up(
    channel: Channel, post: Post, number: int, bad: float, batch: int | None, seed: int | None
) -> Iterator[Parcel]:
    """Parcels with `number` made-up messages in all; on a channel that stores all or none, all good or all bad."""
    from headgate.testing.synthetic import Synthetic

    chance = _chance(seed)
    synthetic = Synthetic(channel, chance.getrandbits(32))
    most = min(batch or _batch(channel, number, bad), channel.most_items) if channel.many else 1
    starts = range(0, number, most)
    as_whole = channel.whole and number > 1
    spoilt = chance.sample(starts, _bad_parcels(len(starts), bad)) if as_whole else []
    for start in starts:
        size = min(most, number - start)
        good = [start not in spoilt] * size if as_whole else [chance.random() >= bad for _ in range(size)]
        messages = [synthetic.good() if wanted else synthetic.bad() for wanted in good]
        body = b"[" + b",".join(messages) + b"]" if channel.many else messages[0]
        yield post.parcel(body, good, synthetic.new_id())


def _batch(channel: Channel, number: int, bad: float) -> int:
    """Messages in a request: where each is all good or all bad, so few that both kinds come in the share asked for."""
    rarer = min(bad, 1 - bad)
    return max(1, min(_BATCH, int(number * rarer))) if channel.whole and rarer else _BATCH


def _bad_parcels(parcels: int, bad: float) -> int:
    """How many of them, the nearest to the share that has both kinds, where there is one."""
    found = round(parcels * bad)
    return min(max(found, 1), parcels - 1) if 0 < bad < 1 and parcels > 1 else found


def _send_many(via: Sender, parcels: list[Parcel], rate: float | None, concurrency: int, as_json: bool) -> int:
    import asyncio

    with _progress(sum(len(parcel.good) for parcel in parcels), shown=not as_json) as on_sent:
        tally = asyncio.run(via.send_all(parcels, concurrency, rate, on_sent))
    for example in tally.examples:
        click.echo(f"unexpected: {visible(example)}", err=True)
    summary = tally.summary()
    if as_json:
        print(json.dumps(summary))
    else:
        _print_summary(summary)
    return UNEXPECTED if tally.unexpected else 0


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, where somebody looks at it."""
    if not (shown and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=total)
        yield lambda count: progress.advance(task, count)


def _print_summary(summary: dict[str, Any]) -> None:
    print(f"messages    {summary['messages']:,} in {summary['seconds']} s: {summary['messages_per_s']:,} a second")
    for name in ("outcomes", "statuses", "latency_ms"):
        words = "  ".join(f"{key} {value:,}" for key, value in summary[name].items())
        print(f"{name.replace('_', ' '):11} {words or '-'}")
    print(f"retries     {summary['retries']:,}")
    print(f"unexpected  {summary['unexpected']:,}")
