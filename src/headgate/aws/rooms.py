"""What the functions behind the gate are made of: the channel that one serves, and the rooms it was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of, channels_of
from headgate.aws.keys import Secrets
from headgate.aws.layout import layout_of
from headgate.aws.settings import Settings
from headgate.aws.telemetry import Metrics, log_as_json
from headgate.aws.wire import Wire
from headgate.clock import Clock
from headgate.engine import DEAD, Outcome
from headgate.errors import Misuse, Unavailable
from headgate.gate.observe import Observer
from headgate.message import Message

if TYPE_CHECKING:
    from headgate.aws.archive import S3Archive
    from headgate.aws.driver import Finishing
    from headgate.aws.index import DynamoIndex
    from headgate.aws.once import OnceStream
    from headgate.aws.pages import Table
    from headgate.aws.postbox import Postbox
    from headgate.aws.queue import DynamoQueue
    from headgate.aws.stream import KinesisStream
    from headgate.gate.plan import Plan
    from headgate.gate.work import Work

_KEY_CHARS = 60  # of a key that gets a number: 240 bytes at most


class Rooms:
    """Made once for each environment of a function. Secrets that a handler asks for are in the process's environment
    before the app is loaded, as under the local engine. A room is loaded when it is first entered: few functions have
    to do with all of them."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        self.settings = Settings.read(environment)
        self.clock = clock
        self.clients = Clients(clock, wire=Wire(environment, clock))
        if self.settings.secrets:
            os.environ.update(Secrets(self.settings.secrets, self.clients, clock).values())
        self.app = app = app_of(self.settings)
        (self.channel,) = channels_of(app, self.settings)
        facts = {"app": app.name, "stage": self.settings.stage}
        log_as_json(facts)
        self.observer = Observer()
        self.metrics = Metrics(self.observer, facts, clock)

    def opened(self, *names: str) -> Rooms:
        """These rooms, with some made ready: while the function starts, Lambda gives a whole processor."""
        for name in names:
            getattr(self, name)
        return self

    @cached_property
    def table(self) -> Table:
        """Where the channel's rows lie."""
        from headgate.aws.pages import Table

        return Table(self.settings.table, layout_of(self.channel))

    @cached_property
    def index(self) -> DynamoIndex:
        """The channel's rows."""
        from headgate.aws.index import DynamoIndex

        return DynamoIndex([self.table], self.settings.bodies, self.clients, self.clock)

    @cached_property
    def queue(self) -> DynamoQueue:
        """What is done to its rows."""
        from headgate.aws.queue import DynamoQueue

        return DynamoQueue(self.index, self.clients, self.clock)

    @cached_property
    def archive(self) -> S3Archive:
        """Its objects."""
        from headgate.aws.archive import S3Archive

        return S3Archive({self.channel.name: self.settings.archive}, self.clients, self.index.threads)

    @cached_property
    def finishing(self) -> Finishing:
        """What is done before senders are answered."""
        from headgate.aws.driver import Finishing

        starts, threads = None, self.index.threads
        if self.channel.start is not None:
            from headgate.aws.starts import starts_of

            starts = starts_of(self.app, self.channel, self.settings, self.clients, threads, self.clock)
        return Finishing(self.queue, self.archive, threads, starts)

    @cached_property
    def stream(self) -> KinesisStream:
        """Its records."""
        from headgate.aws.stream import KinesisStream, log_of

        if self.channel.stream is None:
            raise Misuse(f"channel {self.channel.name} has no stream")
        log = log_of(self.channel.stream, self.settings.stream)
        return KinesisStream({self.channel.name: log}, self.clients, self.clock)

    @cached_property
    def once(self) -> OnceStream:
        """Its records, each of which has a row."""
        from headgate.aws.once import OnceStream
        from headgate.aws.stream import log_of

        if self.channel.stream is None or not self.channel.stream.dedupe:
            raise Misuse(f"channel {self.channel.name} has no stream that dedupes")
        log = log_of(self.channel.stream, self.settings.stream)
        return OnceStream({self.channel.name: log}, self.index, self.clients, self.clock)

    @cached_property
    def postbox(self) -> Postbox:
        """Its queue of SQS."""
        from headgate.aws.postbox import Postbox

        return Postbox(self.settings.queue, self.clients)

    @cached_property
    def plan(self) -> Plan:
        """The channel made ready, for messages that were let in long ago."""
        from headgate.gate.plan import plan_for
        from headgate.gate.redrive import NobodyVerifier
        from headgate.http import new_id

        return plan_for(self.channel, {}, self.clock, new_id, lambda *_: NobodyVerifier())

    def keep_letter(self, letter: Message) -> None:
        """Keep a dead letter of a consumer. Where its key is taken (what has one key was appended twice, or is read
        again after a redrive) it is kept under its key and a number; unless it is the same that is dead already.
        Raises Unavailable where it cannot be kept."""
        keep_ms = self.channel.keep_dead_ms
        expires_ms = None if keep_ms is None else self.clock.now_ms() + keep_ms
        letter = letter._replace(expires_ms=expires_ms)
        number, key = 1, letter.key
        while True:
            (outcome,) = self.index.commit([letter])
            match outcome:
                case Outcome("stored"):
                    return
                case Outcome("replayed", Message() as held) if held.status in DEAD:
                    return
                case Outcome("replayed" | "conflict"):
                    number += 1
                    letter = letter._replace(key=f"{key[:_KEY_CHARS]}~{number}")
                case _:
                    raise Unavailable

    @cached_property
    def work(self) -> Work:
        """What every attempt needs."""
        from headgate.gate.work import Work

        delivery = self.channel.queue or self.channel.stream
        if delivery is None:
            raise Misuse(f"channel {self.channel.name} has nothing behind its gate")
        return Work(self.plan, delivery, self.clock, self.observer)
