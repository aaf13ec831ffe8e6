"""The contract of an engine: what the gate asks of the rooms that keep messages and credentials.

The row of a message is its journal: it alone says how far the message is.

                   begin                     settle: processed
    ┌──────────┐ ──────────▶ ┌────────────┐ ───────────────────▶ ┌───────────┐
    │ accepted │             │ processing │                      │ processed │
    └──────────┘ ◀────────── └────────────┘ ─────────┐           └───────────┘
     ▲            settle: retried, released          │ settle: failed, rejected
     │            (or nobody settled in time: begin) ▼
     │                              redriven ┌────────────────────┐  discarded  ┌───────────┐
     └────────────────────────────────────── │ failed or rejected │ ──────────▶ │ discarded │
                                             └────────────────────┘             └───────────┘
                                                edited: stays dead

Adapters subclass these Protocols explicitly, so that a half-written one does not type-check. `headgate.testing` holds
the cases every engine has to pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from headgate import limits
from headgate.message import Message, Moment

OutcomeKind = Literal["stored", "replayed", "conflict", "in_progress", "unavailable", "untouched"]


class Place(NamedTuple):
    """Where a record is: `sequence` is a whole number in decimal digits, which grows within a shard."""

    shard: str
    sequence: str


class Outcome(NamedTuple):
    """What became of one message of a commit.

    - `stored`: it is durable, as it was handed in
    - `replayed`: the same body was stored under this key before; `message` is that earlier one
    - `conflict`: another body holds the key; `message` is that other one
      (of both, the body may be left out: it can be large, and who asks has it or must not see it)
    - `in_progress`: a twin is being stored, and was not done in time; nothing is known yet
    - `unavailable`: not stored, and may be sent again
    - `untouched`: not stored, because another message of a `whole` commit could not be

    `place` is where it is in its channel's stream, if it has one.
    """

    kind: OutcomeKind
    message: Message | None = None
    place: Place | None = None


class Page(NamedTuple):
    """Messages, newest first, and where the next page starts (None on the last one)."""

    messages: list[Message]
    next: str | None


class ApiKeyRow(NamedTuple):
    """A stored API key. `digest` is the SHA-256 of the whole key; the key itself is nowhere."""

    id: str
    channel: str
    name: str
    digest: bytes
    created_ms: int


class ArchiveObject(NamedTuple):
    """What is to be kept in an archive under `name` (parts between slashes, each percent-encoded).

    `mark` tells this message from every other of the channel; `replaces` are the bytes that the message had before a
    person edited it.
    """

    channel: str
    name: str
    body: bytes
    content_type: str
    mark: str
    replaces: bytes | None = None


class Lease(NamedTuple):
    """The right to try once, until `until_ms`. `message` is the row as it was when the attempt was counted, this
    attempt included, with its timeline; no two leases have the same `token`."""

    message: Message
    token: str
    until_ms: int


class NotYet(NamedTuple):
    """There is work to do, but not now: somebody has a lease, or it has to wait. `due_ms` is None where nobody can say
    until when, since another message has to be done first."""

    due_ms: int | None


class Settlement(NamedTuple):
    """How an attempt ended, as it is written to the row.

    - `status`: `processed`, `failed` or `rejected`, which are final; `accepted`: it is due again after `delay_ms`; or
      `processing`: it goes on, and the lease is good for `delay_ms` more
    - `moments`: what is added to the timeline
    - `error`: what readers of the message are told
    - `keep_ms`: how long a final row stays; None for ever
    - `uncounted`: the attempt did not take place, and is not counted after all
    """

    status: str
    moments: tuple[Moment, ...] = ()
    delay_ms: int = 0
    error: str | None = None
    keep_ms: int | None = None
    uncounted: bool = False


class Redriven(NamedTuple):
    """A dead letter is to be worked off again, now, under the same key, its attempts counted from the start."""

    moment: Moment


class Edited(NamedTuple):
    """A dead letter gets another body, and the index values and the order that are in it. What it came with is kept
    as `original`, and is what a sender's repetition is still compared with."""

    moment: Moment
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    order: str = ""


class Discarded(NamedTuple):
    """A dead letter is given up; the row stays for `keep_ms`, or for ever."""

    moment: Moment
    keep_ms: int | None


Alteration = Redriven | Edited | Discarded

DEAD = ("failed", "rejected")
"""The statuses of dead letters."""
OPEN = ("accepted", "processing")
"""The statuses of messages that are waiting or in work."""


def lengthened(timeline: tuple[Moment, ...], moments: tuple[Moment, ...]) -> tuple[Moment, ...]:
    """A timeline with moments added, and no longer than limits.TIMELINE: the first stays, and the newest."""
    longer = (*timeline, *moments)
    over = len(longer) - limits.TIMELINE.value
    return longer if over <= 0 else (longer[0], *longer[over + 1 :])


class Index(Protocol):
    """Where messages are found.

    A message whose `expires_ms` has come is absent for every verb from that moment on; the store may remove it later.
    """

    @abstractmethod
    def commit(self, messages: Sequence[Message], *, whole: bool = False) -> list[Outcome]:
        """Decide each message by one durable write: new, the same as before, or in conflict.

        Returns one outcome a message, in order, once everything `stored` is on disk. A key is (channel, scope, key);
        of several messages with one key in a call, the first decides. With `whole`, either every message is stored
        or replayed, or none is stored. Repeating a call is safe. Never raises: what cannot be written is
        `unavailable`.

        A message with the status `accepted` is in the queue by the same write, and due at once; one with
        `rejected` or `failed` is a dead letter, with its `error` and `timeline`; see `Queue`. All messages of one call
        have the same status.
        """

    @abstractmethod
    def get(self, channel: str, scope: str, key: str) -> Message | None:
        """The message under a key, with its timeline, or None. Sees every change that has returned.

        Raises Unavailable when the store cannot be read.
        """

    @abstractmethod
    def find(
        self,
        channel: str,
        scope: str | None,
        field: str | None,
        value: str | None,
        limit: int,
        after: str | None,
    ) -> Page:
        """Messages of a channel, newest first: all of them, or those whose declared index `field` has `value`.

        Timelines and originals may be left out. A page has at most `limit` of them, and ends behind the one that makes
        it larger than limits.PAGE_BYTES.
        `scope=None` means every scope. `after` is a `next` of an earlier page; a page starts behind it whatever was
        stored or removed since. Raises ValueError for an `after` that no page gave, Unavailable when the store cannot
        be read.
        """

    @abstractmethod
    def delete(self, channel: str, scope: str, key: str) -> bool:
        """Remove a message for good; the key is free again. False where there was none."""


class Queue(Protocol):
    """What is done to the row of a message after the gate. Each verb is one conditional write to one row; each raises
    Unavailable where that write could not be made, or where nobody knows whether it was.

    How a message gets to whoever works it off is the engine's own business, and promises little: at least once, late,
    in any order (but for messages with the same `order`), and possibly when there is nothing left to do. `begin` says.
    """

    @abstractmethod
    def begin(self, channel: str, scope: str, key: str, lease_ms: int) -> Lease | NotYet | None:
        """Count an attempt and get the right to make it, for `lease_ms`. None where nothing is to be done: the row is
        settled, or gone. A lease that has run out is nobody's: the next one may begin."""

    @abstractmethod
    def settle(self, lease: Lease, settlement: Settlement) -> bool:
        """Write down how an attempt ended. False, and nothing is changed, where the lease is not the row's any more:
        somebody else has begun since, or it was settled already. A lease that ran out and that nobody took over may
        still be settled."""

    @abstractmethod
    def overdue(self, channel: str, by_ms: int, limit: int) -> list[tuple[str, str]]:
        """(scope, key) of open messages that have been due for `by_ms` or longer, those longest due first: what a
        crash left behind, if everything else is as it should be. May lag behind by a second."""

    @abstractmethod
    def dead(self, channel: str, limit: int, after: str | None) -> Page:
        """Dead letters of a channel, with their timelines, newest message first; pages as in `Index.find`."""

    @abstractmethod
    def alter(self, channel: str, scope: str, key: str, alteration: Alteration) -> bool:
        """Change a dead letter. False, and nothing is changed, where the message is none (any more). A redriven one is
        in the queue by the same write. Repeating a call is safe: it finds no dead letter the second time."""


class Keys(Protocol):
    """Where credentials are looked up."""

    @abstractmethod
    def api_key(self, id: str) -> ApiKeyRow | None:
        """The API key with this id, or None."""

    @abstractmethod
    def add_api_key(self, row: ApiKeyRow) -> None:
        """Keep a key, durably. Raises Unavailable when it cannot."""

    @abstractmethod
    def remove_api_key(self, id: str) -> bool:
        """Forget a key: from the return on it opens nothing. False where there was none."""

    @abstractmethod
    def api_keys(self) -> list[ApiKeyRow]:
        """Every key, oldest first."""

    @abstractmethod
    def jwks(self, url: str, *, missing: bool) -> Sequence[Mapping[str, Any]]:
        """The public keys (JWK objects) published at `url`.

        Kept for a time; `missing` says that a key id was not among them, and asks for them anew, which is done at
        most once per interval. When they cannot be had the last good ones are used; Unavailable is raised only where
        there never were any.
        """


class Record(NamedTuple):
    """A message as it stands in a stream; its `order` is the partition key."""

    place: Place
    message: Message


class Stream(Protocol):
    """The ordered, partitioned logs of the channels. A record older than its stream's retention is absent."""

    @abstractmethod
    def append(self, messages: Sequence[Message]) -> list[Outcome]:
        """Append messages, partitioned by their `order`. One outcome a message, in order, once it is durable: `stored`,
        with its place, or `unavailable`.

        Messages of one partition go to one shard, in the order of the call. Repeating a call appends again.
        """

    @abstractmethod
    def shards(self, channel: str) -> list[str]:
        """The shards of a channel that may have records, in the order of their names."""

    @abstractmethod
    def read(self, channel: str, shard: str, after: str | None, limit: int) -> list[Record]:
        """At most `limit` records behind the sequence `after`, or from the oldest one on, in order; [] at the end.
        Fewer where they are large, but one at least.

        Sees every record whose `append` has returned. Raises ValueError for an `after` that is no sequence, Unavailable
        when the stream cannot be read.
        """

    @abstractmethod
    def position(self, channel: str, shard: str, since_ms: int | None) -> str | None:
        """The `after` from which `read` starts at the first record that was received at `since_ms` or later; for None,
        behind the newest record there is. None is the very start."""


class DedupedStream(Stream, Protocol):
    """A stream that can take each message once, by a row of `Index` for each."""

    @abstractmethod
    def append_once(self, messages: Sequence[Message]) -> list[Outcome]:
        """Claim the key of each message by a row, as `Index.commit` does, then append those that are new.

        One outcome a message, in order: `stored` and `replayed` with the place of the record, `conflict`, or
        `unavailable`. Where a crash came between row and record, or between the record and its place in the row,
        repeating the call appends (perhaps a second time: consumers go by the message's id) and tells a place from then
        on. No message is told a place that has no record.
        """


class Archive(Protocol):
    """Where the bytes of messages rest."""

    @abstractmethod
    def put(self, objects: Sequence[ArchiveObject]) -> list[str | None]:
        """Keep objects durably, and return the name of each; None for one that could not be kept, and may be tried
        again.

        Nothing that is not ours is written over. Where the name holds other bytes (two senders with one key), the
        object is kept under the name with `~` and its `mark` behind it. Repeating a call is safe, and gives the same
        names.
        """

    @abstractmethod
    def get(self, channel: str, name: str) -> bytes | None:
        """The bytes of an object, or None. Raises Unavailable when the archive cannot be read."""

    @abstractmethod
    def delete(self, channel: str, name: str) -> bool:
        """Remove an object for good. False where there was none."""


class Notice(NamedTuple):
    """What people are told. `attributes` are for machines to sort notices by."""

    subject: str
    text: str
    attributes: Mapping[str, str]


class Topics(Protocol):
    """Where people are told."""

    @abstractmethod
    def publish(self, topic: str, notice: Notice) -> str:
        """Hand a notice over for delivery, durably; its id. Each subscriber gets it at least once, or is given up after
        a day, which is logged. Raises Unavailable where it cannot be kept."""


ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]


class Execution(NamedTuple):
    """One run of a workflow. `id` is its ARN; input and output are JSON texts."""

    id: str
    workflow: str
    name: str
    status: ExecutionStatus
    input: str
    output: str | None
    error: str | None
    cause: str | None
    started_ms: int
    stopped_ms: int | None
    redrives: int


class HistoryEvent(NamedTuple):
    """A line of an execution's history, with the type and the details that Step Functions gives it."""

    id: int
    previous: int
    ms: int
    type: str
    details: dict[str, Any]


class ExecutionPage(NamedTuple):
    """Executions, the one started last first, and where the next page starts (None on the last one)."""

    executions: list[Execution]
    next: str | None


class Executions(Protocol):
    """Where workflows run.

    An execution goes on after a crash where it was: a task it waited for may be asked for again, under the same
    token; nothing else happens twice. Every verb raises Unavailable when the store cannot be written or read.
    """

    @abstractmethod
    def start(self, workflow: str, name: str | None, input: str) -> Execution:
        """Start a workflow, durably; `name` is made up where it is None.

        The same name and input while that execution runs give the same execution again, so a start may be repeated.
        Raises NotRun: `ExecutionAlreadyExists` for a name that another input has, or an execution that ended;
        `InvalidName`, `InvalidExecutionInput`, `StateMachineDoesNotExist`. An Express execution's name is its own
        affair: every start is an execution.
        """

    @abstractmethod
    def describe(self, id: str) -> Execution | None:
        """An execution as it stands, or None."""

    @abstractmethod
    def named(self, workflow: str, name: str) -> Execution | None:
        """The execution of a workflow that has this name, or None; also for every Express execution."""

    @abstractmethod
    def history(self, id: str, after: int = 0, limit: int = 1000) -> list[HistoryEvent]:
        """At most `limit` lines behind line `after`, oldest first; none for an Express execution."""

    @abstractmethod
    def stop(self, id: str, error: str | None = None, cause: str | None = None) -> Execution:
        """Let it do no more: it is ABORTED, unless it had ended before. Raises NotRun `ExecutionDoesNotExist`."""

    @abstractmethod
    def redrive(self, id: str) -> Execution:
        """Let one that ended badly go on from the states it failed in, with the input they had.

        Raises NotRun: `ExecutionNotRedrivable` for one that runs, succeeded, is Express, or ended 14 days ago;
        `ExecutionDoesNotExist`.
        """

    @abstractmethod
    def find(
        self, workflow: str | None = None, status: str | None = None, limit: int = 100, after: str | None = None
    ) -> ExecutionPage:
        """Executions of a workflow, or of all; those with a status, or all. Inputs and outputs may be left out, as ""
        and None. `after` is a `next` of an earlier page; raises ValueError for one that no page gave."""
