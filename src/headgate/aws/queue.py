"""The queue on DynamoDB: what is done to rows. How a message gets from its row to a worker: `forwarder`, `sweep`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.aws.clients import Clients, Declined
from headgate.aws.index import INLINE_BYTES, DynamoIndex
from headgate.aws.layout import (
    ATTEMPTS,
    BODY,
    BODY_AT,
    DEAD,
    DEAD_LETTERS,
    DUE,
    DUE_AT,
    ERROR,
    EXECUTION_ARN,
    EXECUTIONS,
    EXPIRES_AT,
    EXPIRES_MS,
    LEASE,
    LINE,
    LINES,
    ORDER,
    ORIGINAL,
    ORIGINAL_AT,
    RECEIVED_AT,
    SHARD,
    SHARDS,
    STATUS,
    SWEPT_AT,
    TIMELINE,
    UNREAD,
    Layout,
    dead_shard,
    value_of,
)
from headgate.aws.pages import TRIES, Partition, Table, pause
from headgate.aws.rows import (
    Values,
    address,
    expiry,
    in_line,
    is_expired,
    message_of,
    shown,
    text_or_bytes,
    timeline_text,
)
from headgate.clock import Clock
from headgate.engine import DEAD as DEAD_STATUSES
from headgate.engine import (
    OPEN,
    Alteration,
    Discarded,
    Edited,
    Lease,
    NotYet,
    OutcomeKind,
    Page,
    Queue,
    Redriven,
    Settlement,
    lengthened,
)
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S
from headgate.message import STARTED, Message, Moment

AHEAD = 20
"""How many messages of a line are looked at in one go."""
COUNTED = 100
"""How many dead letters of a shard are counted: whoever asks each minute has to know whether there are any."""
_UNREAD = ".unread"
_EXPIRY = (EXPIRES_AT, EXPIRES_MS)


@dataclass
class Change:
    """What becomes of the attributes of a row; every change leaves its own mark, by which it knows itself again."""

    sets: dict[str, Mapping[str, Any]]
    removes: set[str] = field(default_factory=set)
    adds: dict[str, int] = field(default_factory=dict)

    def expression(self) -> dict[str, Any]:
        """As UpdateItem takes it."""
        numbers = {name: f"n{at}" for at, name in enumerate([*self.sets, *sorted(self.removes), *self.adds])}
        parts = [
            ("SET", [f"#{numbers[name]} = :{numbers[name]}" for name in self.sets]),
            ("REMOVE", [f"#{numbers[name]}" for name in sorted(self.removes)]),
            ("ADD", [f"#{numbers[name]} :{numbers[name]}" for name in self.adds]),
        ]
        values = self.sets | {name: {"N": str(by)} for name, by in self.adds.items()}
        return {
            "UpdateExpression": " ".join(f"{verb} {', '.join(those)}" for verb, those in parts if those),
            "ExpressionAttributeNames": {f"#{number}": name for name, number in numbers.items()},
            "ExpressionAttributeValues": {f":{numbers[name]}": value for name, value in values.items()},
        }


class DynamoQueue(Queue):
    """See `Queue`. A lease counts by the clocks of the machines that work messages off, which AWS keeps together."""

    def __init__(self, index: DynamoIndex, clients: Clients, clock: Clock) -> None:
        self._index = index
        self._clients = clients
        self._clock = clock

    # ------------------------------------------------------------------------------------------------ the contract

    def begin(self, channel: str, scope: str, key: str, lease_ms: int) -> Lease | NotYet | None:
        found = self._index.at(channel, scope, key)
        if found is None:
            return None
        table, at = found
        now_ms = self._clock.now_ms()
        token, until_ms = secrets.token_hex(12), now_ms + lease_ms
        change = Change(
            {STATUS: {"S": "processing"}, LEASE: {"S": token}, DUE_AT: {"N": str(until_ms)}}, adds={ATTEMPTS: 1}
        )
        done, values = self._changed(
            table, at, change, "#status IN (:accepted, :processing) AND #due <= :now",
            {"#status": STATUS, "#due": DUE_AT},
            {":accepted": {"S": "accepted"}, ":processing": {"S": "processing"}, ":now": {"N": str(now_ms)}},
        )  # fmt: skip
        if done:
            return self._leased(table, values, token, until_ms)
        if not values or _status(values) not in OPEN:
            return None
        return NotYet(int(values[DUE_AT]["N"]))

    def settle(self, lease: Lease, settlement: Settlement) -> bool:
        final = settlement.status not in OPEN
        change = Change({STATUS: {"S": settlement.status}, LEASE: _mark("settled")}, {SWEPT_AT})
        if final and lease.message.order:
            change.removes.add(LINE)
        _tell(change, lengthened(lease.message.timeline, settlement.moments))
        _put(change, ERROR, settlement.error)
        if started := [moment.detail for moment in settlement.moments if moment.what == STARTED]:
            _put(change, EXECUTION_ARN, started[-1])
        table = self._index.table(lease.message.channel)
        if table is not None:
            _show(change, table.layout, settlement.moments)
        if settlement.uncounted:
            change.adds[ATTEMPTS] = -1
        if final:
            change.removes.add(DUE_AT)
            self._keep(change, settlement.keep_ms)
        else:
            change.sets[DUE_AT] = {"N": str(self._clock.now_ms() + settlement.delay_ms)}
        if settlement.status in DEAD_STATUSES:
            change.sets[DEAD] = {"S": dead_shard(settlement.status, secrets.choice(SHARDS))}
        return self._of_lease(lease, change)

    def ahead(self, channel: str, line: str, place: str) -> list[tuple[str, str]]:
        """(scope, key) of unfinished messages in a line before a place, the first in it first, AHEAD at most. May lag
        behind by a second."""
        return self._found(
            channel,
            IndexName=LINES,
            KeyConditionExpression="#line = :line AND #received < :place",
            ExpressionAttributeNames={"#line": LINE, "#received": RECEIVED_AT},
            ExpressionAttributeValues={":line": {"S": line}, ":place": {"S": place}},
            Limit=AHEAD,
        )

    def overdue(self, channel: str, by_ms: int, limit: int) -> list[tuple[str, str]]:
        table = self._index.table(channel)
        if table is None:
            return []
        until = {"N": str(self._clock.now_ms() - by_ms)}

        def due(shard: str) -> list[Values]:
            answer = self._clients.call(
                "dynamodb",
                "query",
                TableName=table.name,
                IndexName=DUE,
                KeyConditionExpression="#shard = :shard AND #due <= :until",
                ExpressionAttributeNames={"#shard": SHARD, "#due": DUE_AT},
                ExpressionAttributeValues={":shard": {"S": shard}, ":until": until},
                Limit=limit,
            )
            return list(answer["Items"])

        found = [values for part in self._index.threads.in_parallel(due, SHARDS) for values in part]
        found.sort(key=lambda values: int(values[DUE_AT]["N"]))
        return [_where(table.layout, values) for values in found[:limit]]

    def dead(self, channel: str, limit: int, after: str | None) -> Page:
        table = self._index.table(channel)
        if table is None or DEAD_LETTERS not in {index.name for index in table.layout.indexes}:
            return Page([], None)
        places = [dead_shard(status, shard) for status in sorted(DEAD_STATUSES) for shard in SHARDS]
        partitions = [Partition(table, DEAD_LETTERS, DEAD, place) for place in places]
        return self._index.pages.page(partitions, None, limit, after, lambda values: _status(values) in DEAD_STATUSES)

    def alter(self, channel: str, scope: str, key: str, alteration: Alteration) -> bool:
        for attempt in range(TRIES):
            held = self._index.held(channel, scope, key)
            if held is None or _status(held[1]) not in DEAD_STATUSES:
                return False
            altered = self._altered(*held, alteration)
            if altered is not None:
                return altered
            pause(attempt)  # somebody else has altered it meanwhile
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    # -------------------------------------------------------------------------------------------- for the command line

    def put_off_until_ms(self, channel: str, scope: str, key: str) -> int | None:
        """When a message is due that waits for a later time; None where it waits for none."""
        held = self._index.held(channel, scope, key)
        if held is None or _status(held[1]) != "accepted":
            return None
        due_ms = int(held[1][DUE_AT]["N"])
        return due_ms if due_ms > self._clock.now_ms() else None

    # -------------------------------------------------------------------------------------------------- for the worker

    def promote(self, lease: Lease, message: Message) -> OutcomeKind | str:
        """Turn a message that was let in unread into one like all others, `message`, under the key that is its own;
        what came of it, as `Index.commit` says it, or `late`. With `conflict` it is still leased. Repeating it is
        safe, also after a crash in between: where it has another key, its row stays leased until `left`."""
        if (message.scope, message.key) != (lease.message.scope, lease.message.key):
            (outcome,) = self._index.commit([message._replace(status="accepted")])
            return outcome.kind
        table = self._index.table(message.channel)
        now = {"N": str(self._clock.now_ms())}
        change = Change(
            {STATUS: {"S": "accepted"}, LEASE: _mark("promoted"), DUE_AT: now, ATTEMPTS: {"N": "0"}}, {UNREAD}
        )
        _put(change, ORDER, message.order)
        if table is not None:
            change.sets |= shown(table.layout, message)
        return "stored" if self._of_lease(lease, change) else "late"

    def leave(self, lease: Lease, message: Message) -> None:
        """The row under the sender's id has done its service, since `message` was promoted from it to another key; it
        stays as a record of what happened to it."""
        moved = Moment(self._clock.now_ms(), "processed", detail=f"It goes on under the key {message.key}.")
        self.settle(lease, Settlement("processed", (moved,)))

    def is_unread(self, lease: Lease) -> bool:
        """Whether nobody has looked at a message yet."""
        return lease.token.endswith(_UNREAD)

    # --------------------------------------------------------------------------------------------------- for the sweep

    def swept(self, channel: str, scope: str, key: str, again_ms: int) -> tuple[str, str] | None:
        """Take note that an overdue message is put into its queue once more; what it is ordered by, and its place among
        those; empty where by nothing. None where it is not due, or where that was done less than `again_ms` ago."""
        found = self._index.at(channel, scope, key)
        if found is None:
            return None
        table, at = found
        now_ms = self._clock.now_ms()
        done, values = self._changed(
            table, at, Change({SWEPT_AT: {"N": str(now_ms)}}),
            "#due <= :now AND (attribute_not_exists(#swept) OR #swept <= :before)",
            {"#due": DUE_AT, "#swept": SWEPT_AT},
            {":now": {"N": str(now_ms)}, ":before": {"N": str(now_ms - again_ms)}},
        )  # fmt: skip
        if not done:
            return None
        return (values[ORDER]["S"], values[RECEIVED_AT]["S"]) if ORDER in values else ("", "")

    def dead_letters(self, channel: str) -> int:
        """How many messages failed for good, as far as they are counted: up to COUNTED in each shard. May lag behind by
        a second."""
        table = self._index.table(channel)
        if table is None:
            return 0

        def count(shard: str) -> int:
            answer = self._clients.call(
                "dynamodb",
                "query",
                TableName=table.name,
                IndexName=DEAD_LETTERS,
                KeyConditionExpression="#dead = :shard",
                ExpressionAttributeNames={"#dead": DEAD},
                ExpressionAttributeValues={":shard": {"S": shard}},
                Select="COUNT",
                Limit=COUNTED,
            )
            return int(answer["Count"])

        return sum(self._index.threads.in_parallel(count, SHARDS))

    # ------------------------------------------------------------------------------------------- for ends of executions

    def leased(self, channel: str, scope: str, key: str) -> Lease | None:
        """The lease that a message in work has now, whoever took it; without the body. None where it is not in work."""
        held = self._index.held(channel, scope, key)
        if held is None or _status(held[1]) != "processing":
            return None
        table, values = held
        return Lease(message_of(table.layout, values), values[LEASE]["S"], int(values[DUE_AT]["N"]))

    def unheld(self, channel: str, scope: str, key: str) -> Message | None:
        """A message that is neither settled nor in work; without the body."""
        held = self._index.held(channel, scope, key)
        if held is None or _status(held[1]) != "accepted":
            return None
        return message_of(held[0].layout, held[1])

    def take_over(self, lease: Lease, settlement: Settlement) -> bool:
        """`settle`, after which the lease is nobody's that had it: each settlement leaves a mark of its own."""
        return self.settle(lease, settlement)

    def started(self, channel: str, execution: str) -> list[tuple[str, str]]:
        """(scope, key) of the message that started an execution. May lag behind by a second."""
        return self._found(
            channel,
            IndexName=EXECUTIONS,
            KeyConditionExpression="#execution = :execution",
            ExpressionAttributeNames={"#execution": EXECUTION_ARN},
            ExpressionAttributeValues={":execution": {"S": execution}},
        )

    # ---------------------------------------------------------------------------------------------------------- inside

    def _found(self, channel: str, **query: Any) -> list[tuple[str, str]]:
        """(scope, key) of what a query finds; nothing where the channel has no table."""
        table = self._index.table(channel)
        if table is None:
            return []
        answer = self._clients.call("dynamodb", "query", TableName=table.name, **query)
        return [_where(table.layout, values) for values in answer["Items"]]

    def _changed(
        self,
        table: Table,
        at: Mapping[str, Any],
        change: Change,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> tuple[bool, Values]:
        """Whether a row was changed; and the row, as it is then, or as it was found; empty where there is none."""
        asked = change.expression()
        asked["ExpressionAttributeNames"] |= names
        asked["ExpressionAttributeValues"] |= values
        for attempt in range(TRIES):
            try:
                answer = self._clients.call(
                    "dynamodb",
                    "update_item",
                    TableName=table.name,
                    Key=at,
                    ConditionExpression=condition,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **asked,
                )
            except Declined as declined:
                if declined.code != "ConditionalCheckFailedException":
                    pause(attempt)  # a transaction is writing this very row
                    continue
                held: Values = declined.answer.get("Item") or {}
                # By a try whose answer was lost.
                return LEASE in change.sets and held.get(LEASE) == change.sets[LEASE], held
            return True, answer["Attributes"]
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _leased(self, table: Table, values: Values, token: str, until_ms: int) -> Lease:
        mark = _UNREAD if UNREAD in values else ""
        try:
            message = self._index.bodies.whole(table.layout, values)
        except Unavailable:
            bare = Lease(message_of(table.layout, values), token, until_ms)
            self.settle(bare, Settlement("accepted", uncounted=True))
            raise
        return Lease(message._replace(deadline_ms=until_ms), f"{token}{mark}", until_ms)

    def _of_lease(self, lease: Lease, change: Change) -> bool:
        """Change the row of a lease. False where it is not its row any more."""
        found = self._index.at(*lease.message[:3])
        if found is None:
            return False
        table, at = found
        done, _ = self._changed(
            table, at, change, "#status = :processing AND #lease = :token", {"#status": STATUS, "#lease": LEASE},
            {":processing": {"S": "processing"}, ":token": {"S": _token(lease)}},
        )  # fmt: skip
        return done

    def _altered(self, table: Table, held: Values, alteration: Alteration) -> bool | None:
        """None where the row has changed since it was read."""
        message = message_of(table.layout, held)
        now_ms = self._clock.now_ms()
        change = Change({LEASE: _mark("altered")})
        _tell(change, lengthened(message.timeline, (alteration.moment,)))
        match alteration:
            case Redriven():
                change.sets |= {STATUS: {"S": "accepted"}, ATTEMPTS: {"N": "0"}, DUE_AT: {"N": str(now_ms)}}
                change.sets |= in_line(table.layout, message.order)
                change.removes |= {ERROR, DEAD, *_EXPIRY}
            case Edited(_, body, fields, order):
                edited = message._replace(body=body, fields=fields, order=order)
                self._edit(change, table.layout, held, edited)
            case Discarded(_, keep_ms):
                change.sets[STATUS] = {"S": "discarded"}
                change.removes.add(DEAD)
                self._keep(change, keep_ms)
        mark = held.get(LEASE)
        done, now = self._changed(
            table,
            {name.name: held[name.name] for name in (table.layout.partition, table.layout.sort) if name is not None},
            change,
            f"#status = :status AND {'attribute_not_exists(#lease)' if mark is None else '#lease = :lease'}",
            {"#status": STATUS, "#lease": LEASE},
            {":status": held[STATUS], **({} if mark is None else {":lease": mark})},
        )
        if done:
            return True
        return None if now and not is_expired(now, now_ms) and _status(now) in DEAD_STATUSES else False

    def _edit(self, change: Change, layout: Layout, held: Values, edited: Message) -> None:
        """Another body. What a repetition is compared with stays."""
        if ORIGINAL not in held and ORIGINAL_AT not in held:
            first = (ORIGINAL, BODY) if BODY in held else (ORIGINAL_AT, BODY_AT)
            change.sets[first[0]] = held[first[1]]
        if len(edited.body) > INLINE_BYTES:
            at = address(edited)
            self._index.bodies.put(at, edited.body)
            change.sets[BODY_AT] = {"S": at}
            change.removes.add(BODY)
        else:
            change.sets[BODY] = text_or_bytes(edited.body)
            change.removes.add(BODY_AT)
        values = shown(layout, edited)
        change.sets |= values
        change.removes |= {name for name in _taken_from_bodies(layout) if name not in values}
        _put(change, ORDER, edited.order)

    def _keep(self, change: Change, keep_ms: int | None) -> None:
        if keep_ms is None:
            change.removes |= {*_EXPIRY}
        else:
            change.sets |= expiry(self._clock.now_ms() + keep_ms)


def _status(values: Values) -> str:
    return str(values[STATUS]["S"])


def _where(layout: Layout, values: Values) -> tuple[str, str]:
    scope = "" if layout.sort is None else value_of(values[layout.sort.name]["S"])
    return scope, value_of(values[layout.partition.name]["S"])


def _taken_from_bodies(layout: Layout) -> Iterable[str]:
    declared = (index.partition.name for index in layout.indexes if layout.index_of(index.partition.name))
    shown = (it.name for it in layout.attributes if it.field is not None or it.fact == "object")
    return {*declared, *shown} - {layout.partition.name}


def _mark(what: str) -> dict[str, str]:
    return {"S": f"{what}.{secrets.token_hex(12)}"}


def _token(lease: Lease) -> str:
    return lease.token.removesuffix(_UNREAD)


def _tell(change: Change, timeline: tuple[Moment, ...]) -> None:
    if timeline:
        change.sets[TIMELINE] = {"S": timeline_text(timeline)}


def _show(change: Change, layout: Layout, moments: Iterable[Moment]) -> None:
    """Tell beside the body what has been done now: under which name its object was kept, what was started."""
    told = {"archived": "object", STARTED: "execution"}
    for moment in moments:
        for name in layout.telling(told.get(moment.what, "")):
            _put(change, name, moment.detail)


def _put(change: Change, name: str, text: str | None) -> None:
    if text:
        change.sets[name] = {"S": text}
    else:
        change.removes.add(name)
