"""What each duty may do, action by action, and on what. Nothing is granted that its function does not call, or that
Lambda does not call for it where it is fed from a queue or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs

from headgate.aws.index import INLINE_BYTES
from headgate.aws.layout import DEAD_LETTERS, DUE, EXECUTIONS, LINES, body_prefix, layout_of
from headgate.cdk.bodies import keep_days
from headgate.declare.channel import Channel


class Grant(NamedTuple):
    """Actions on resources. `because` says why a resource has a `*` in it."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    because: str = ""


class Starts(NamedTuple):
    """The state machine that the messages of a channel start: the name of the workflow, the machine's ARN, and that of
    all its executions, of which an Express one has none that could be asked about. `ended` is the ARN of the function
    that an Express machine calls at its end, empty otherwise."""

    workflow: str
    machine: str
    executions: str = ""
    ended: str = ""


class Rooms(NamedTuple):
    """What a duty of a channel has to do with; None for what there is not. `dead` is the dead letter queue of the
    channel's queue, or of the one consumer that is meant."""

    table: dynamodb.ITable
    bodies: s3.IBucket
    archive: s3.IBucket | None = None
    queue: sqs.IQueue | None = None
    dead: sqs.IQueue | None = None
    stream: kinesis.IStream | None = None
    starts: Starts | None = None


Duty = Callable[[Channel, Rooms], list[Grant]]

_DIGESTS = "Bodies are called by their digests, which are not known beforehand."
_TEMPLATES = "Objects are called by what is in the messages, which is not known beforehand."
_EXECUTIONS = "Executions are called by the messages that start them, which are not known beforehand."
_FEEDS = "The stream of a table has a new name each time that it is switched on."
_METRICS = "CloudWatch has no resources that metrics could be asked of."

_SQS_FEED = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
_TABLE_FEED = ("dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:DescribeStream", "dynamodb:ListStreams")
_KINESIS_FEED = tuple(
    f"kinesis:{action}"
    for action in (
        "GetRecords",
        "GetShardIterator",
        "DescribeStream",
        "DescribeStreamSummary",
        "ListShards",
        "ListStreams",
        "SubscribeToShard",
    )
)


# ---------------------------------------------------------------------------------------------------------- the gate


def ingest(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Stores messages. A put on a condition tells what was there already, alone and in a transaction."""
    appends = Grant(("kinesis:PutRecords",), _streams(rooms.stream))
    if channel.rowless:
        return [appends]
    if channel.stream is not None:
        return [_on(rooms.table, "PutItem", "UpdateItem"), *_bodies(channel, rooms, "PutObject"), appends]
    if not channel.finishes:
        return [_on(rooms.table, "PutItem"), *_bodies(channel, rooms, "PutObject")]
    looked_at = ["GetItem"] if channel.start is not None else []  # whether its execution is under way already
    return [
        _on(rooms.table, "PutItem", "UpdateItem", *looked_at),
        *_bodies(channel, rooms, "PutObject", "GetObject"),
        *_archive(rooms),
        *_starts(rooms),
    ]


def query(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Reads messages: by key, and by the fields that HTTP can ask for, whose indexes tell keys."""
    layout = layout_of(channel)
    found = [layout.index_of(field.name) for field in channel.indexes]
    indexes = [index.name for index in found if index is not None]
    return [
        _on(rooms.table, "GetItem", *(["BatchGetItem"] if indexes else [])),
        *([_asked(rooms.table, indexes)] if indexes else []),
        *_bodies(channel, rooms, "GetObject"),
    ]


def look_up_keys(table: dynamodb.ITable) -> list[Grant]:
    """Finds an API key by its id."""
    return [_on(table, "GetItem")]


def read_secrets(secrets: Sequence[secretsmanager.ISecret]) -> list[Grant]:
    """Reads the values of secrets."""
    arns = [secret.secret_arn for secret in secrets]
    return [Grant(("secretsmanager:GetSecretValue",), tuple(arns))] if arns else []


# --------------------------------------------------------------------------------------------------- behind the gate


def forwarder(_: Channel, rooms: Rooms) -> list[Grant]:
    """Is fed with the changes of the table, and tells the queue of new messages."""
    return [
        Grant(("sqs:SendMessage",), _queues(rooms.queue)),
        Grant(_TABLE_FEED, (f"{rooms.table.table_arn}/stream/*",), _FEEDS),
    ]


def worker(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Is fed by the queue, and works messages off; what it puts off for too long it puts in anew. Those that came in
    unread it also stores."""
    unread = channel.unread
    return [
        Grant((*_SQS_FEED, "sqs:ChangeMessageVisibility", "sqs:SendMessage"), _queues(rooms.queue)),
        *([_asked(rooms.table, [LINES])] if rooms.queue is not None and rooms.queue.fifo else []),
        _on(rooms.table, *(["PutItem"] if unread else []), "UpdateItem"),
        *_bodies(channel, rooms, "GetObject", *(["PutObject"] if unread else [])),
        *_archive(rooms),
    ]


def buried(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Is fed by the dead letter queue, and writes on the rows that it is over."""
    unread = channel.unread
    return [
        Grant(_SQS_FEED, _queues(rooms.dead)),
        _on(rooms.table, *(["PutItem"] if unread else []), "UpdateItem"),
        *_bodies(channel, rooms, "GetObject", *(["PutObject"] if unread else [])),
    ]


def sweep(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Finds what was left behind, and has it gone on with: by the queue, or where there is none by itself."""
    if rooms.queue is None:
        return [
            _asked(rooms.table, [DUE, *([DEAD_LETTERS] if channel.start is not None else [])]),
            _on(rooms.table, "GetItem", "UpdateItem"),
            *_bodies(channel, rooms, "GetObject"),
            *([Grant(("kinesis:PutRecords",), _streams(rooms.stream))] if rooms.stream is not None else []),
            *_archive(rooms),
            *_starts(rooms),
        ]
    return [
        _asked(rooms.table, [DUE, DEAD_LETTERS]),
        _on(rooms.table, "UpdateItem"),
        Grant(("sqs:SendMessage", "sqs:GetQueueAttributes"), _queues(rooms.queue)),
        Grant(("cloudwatch:GetMetricStatistics",), ("*",), _METRICS),
    ]


def told_ends(_: Channel, rooms: Rooms) -> list[Grant]:
    """Is told by executions whose they are when they begin, and how they ended; it writes that on the rows."""
    return [_on(rooms.table, "GetItem", "UpdateItem")]


def ended(_: Channel, rooms: Rooms) -> list[Grant]:
    """Hears of the ends of executions, and writes them on the rows of the messages that started them."""
    return [_asked(rooms.table, [EXECUTIONS]), _on(rooms.table, "GetItem", "UpdateItem")]


def consumer(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Is fed by the stream; what fails for good becomes a row, and those of them that were put back it finds there.
    What Lambda gives up itself it puts into a queue."""
    return [
        Grant(_KINESIS_FEED, _streams(rooms.stream)),
        Grant(("sqs:SendMessage",), _queues(rooms.dead)),
        _asked(rooms.table, [DUE, DEAD_LETTERS]),
        _on(rooms.table, "PutItem", "UpdateItem"),
        *_bodies(channel, rooms, "PutObject", "GetObject"),
    ]


def buried_records(channel: Channel, rooms: Rooms) -> list[Grant]:
    """Is fed with what Lambda gave up of a stream, reads the records once more and makes rows of them."""
    return [
        Grant(_SQS_FEED, _queues(rooms.dead)),
        Grant(("kinesis:GetRecords", "kinesis:GetShardIterator"), _streams(rooms.stream)),
        _on(rooms.table, "PutItem"),
        *_bodies(channel, rooms, "PutObject"),
    ]


# --------------------------------------------------------------------------------------------------------- the pieces


def _on(table: dynamodb.ITable, *actions: str) -> Grant:
    return Grant(tuple(f"dynamodb:{action}" for action in actions), (table.table_arn,))


def _asked(table: dynamodb.ITable, indexes: Iterable[str]) -> Grant:
    return Grant(("dynamodb:Query",), tuple(f"{table.table_arn}/index/{name}" for name in indexes))


def _bodies(channel: Channel, rooms: Rooms, *actions: str) -> list[Grant]:
    """For channels that take bodies which are too large for a row. A transaction has less room for each."""
    if channel.body_limit_bytes <= INLINE_BYTES and not channel.whole:
        return []
    resource = rooms.bodies.arn_for_objects(f"{body_prefix(channel.name, keep_days(channel))}*")
    return [Grant(tuple(f"s3:{action}" for action in actions), (resource,), _DIGESTS)]


def _archive(rooms: Rooms) -> list[Grant]:
    if rooms.archive is None:
        return []
    return [Grant(("s3:GetObject", "s3:PutObject"), (rooms.archive.arn_for_objects("*"),), _TEMPLATES)]


def _starts(rooms: Rooms) -> list[Grant]:
    if rooms.starts is None:
        return []
    started = Grant(("states:StartExecution",), (rooms.starts.machine,))
    if not rooms.starts.executions:
        return [started]
    looked_at = ("states:DescribeExecution", "states:RedriveExecution")
    return [started, Grant(looked_at, (rooms.starts.executions,), _EXECUTIONS)]


def _queues(*queues: sqs.IQueue | None) -> tuple[str, ...]:
    return tuple(queue.queue_arn for queue in queues if queue is not None)


def _streams(*streams: kinesis.IStream | None) -> tuple[str, ...]:
    return tuple(stream.stream_arn for stream in streams if stream is not None)
