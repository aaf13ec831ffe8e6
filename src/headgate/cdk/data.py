"""Everything that is stored: tables, queues, streams, buckets, API keys, secrets; and topics, whose subscribers have
confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aws_cdk import CfnOutput, Fn, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headgate.aws.duties import working
from headgate.cdk import outputs
from headgate.cdk.archive import ArchiveBucket
from headgate.cdk.bodies import BodiesBucket
from headgate.cdk.environment import env_of, secrets_of
from headgate.cdk.fit import check_fit
from headgate.cdk.index import IndexTable
from headgate.cdk.items import ItemTable
from headgate.cdk.keys import KeysTable, NamedSecret
from headgate.cdk.queue import MessageQueue
from headgate.cdk.stream import MessageStream
from headgate.cdk.topics import NoticesKey, NoticeTopic
from headgate.declare.app import App
from headgate.declare.auth import ApiKey
from headgate.declare.channel import Channel
from headgate.declare.stage import Stage


class Queues(NamedTuple):
    """A channel's queue, and the one behind it."""

    queue: sqs.IQueue
    dead: sqs.IQueue


class Streams(NamedTuple):
    """A channel's stream, and the queues behind its consumers, by their names."""

    stream: kinesis.IStream
    dead: Mapping[str, sqs.IQueue]


@dataclass(frozen=True)
class Stored:
    """What is stored, as whatever serves sees it, by the names of what is declared. `table_streams` are ARNs, of the
    tables that feed a queue."""

    tables: Mapping[str, dynamodb.ITable]
    bodies: s3.IBucket
    table_streams: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, Queues] = field(default_factory=dict)
    streams: Mapping[str, Streams] = field(default_factory=dict)
    archives: Mapping[str, s3.IBucket] = field(default_factory=dict)
    items: Mapping[str, dynamodb.ITable] = field(default_factory=dict)
    topics: Mapping[str, sns.ITopic] = field(default_factory=dict)
    notices: kms.IKey | None = None
    keys: dynamodb.ITable | None = None
    secrets: Mapping[str, secretsmanager.ISecret] = field(default_factory=dict)


class Storage:
    """Adds to a stack whatever an app stores.

    `tables`, `queues` and `streams` of channels, `archives`, `items` (the tables of workflows), `topics` and `secrets`
    by the names of what is declared; `keys` is None where no channel takes API keys, `notices` where there are no
    topics.
    """

    def __init__(self, stack: Stack, *, app: App, stage: Stage) -> None:
        self._stack, self.app, self.stage = stack, app, stage
        retains, names = stage.retains, stage.names
        self.tables = {
            it.name: IndexTable(
                stack,
                f"{outputs.pascal(it.name)}Index",
                channel=it,
                retains=retains,
                name=names.get(f"table:{it.name}"),
            )
            for it in app.channels
        }
        self.bodies = BodiesBucket(stack, "Bodies", channels=app.channels, retains=retains)
        self.queues = {
            it.name: MessageQueue(
                stack,
                f"{outputs.pascal(it.name)}Queue",
                channel=it,
                delivery=it.queue,
                retains=retains,
                name=names.get(f"queue:{it.name}"),
            )
            for it in app.channels
            if it.queue is not None
        }
        self.streams = {
            it.name: MessageStream(
                stack,
                f"{outputs.pascal(it.name)}Stream",
                channel=it,
                delivery=it.stream,
                retains=retains,
                name=names.get(f"stream:{it.name}"),
            )
            for it in app.channels
            if it.stream is not None
        }
        self.archives = {
            it: ArchiveBucket(stack, f"{outputs.pascal(it)}Archive", retains=retains, name=names.get(f"archive:{it}"))
            for it in outputs.archives(app)
        }
        self.items = {
            it.name: ItemTable(
                stack, f"{outputs.pascal(it.name)}Items", table=it, retains=retains, name=names.get(f"table:{it.name}")
            )
            for it in app.tables
        }
        self.notices = NoticesKey(stack, "Notices", retains=retains) if app.topics else None
        self.topics = self._topics(env_of(app)) if app.topics else {}
        asks_for_keys = any(isinstance(channel.auth, ApiKey) for channel in app.channels)
        self.keys = KeysTable(stack, "Keys", retains=retains) if asks_for_keys else None
        secrets = Construct(stack, "Secrets")
        self.secrets = {
            name: NamedSecret(secrets, outputs.pascal(name), name=name, retains=retains) for name in secrets_of(app)
        }

    def _topics(self, settings: Mapping[str, str]) -> dict[str, NoticeTopic]:
        assert self.notices is not None  # noqa: S101 - there are topics
        return {
            it.name: NoticeTopic(
                self._stack,
                f"{outputs.pascal(it.name)}Topic",
                topic=it,
                key=self.notices.key,
                settings=settings,
                name=self.stage.names.get(f"topic:{it.name}"),
            )
            for it in self.app.topics
        }

    def told(self) -> dict[str, str]:
        """The outputs of whatever is stored."""
        return dict(self._told())

    @property
    def stored(self) -> Stored:
        """As it is seen in the same stack."""
        return Stored(
            tables={name: it.table for name, it in self.tables.items()},
            bodies=self.bodies.bucket,
            table_streams={name: self.tables[name].table.table_stream_arn or "" for name in self.queues},
            queues={name: Queues(it.queue, it.dead) for name, it in self.queues.items()},
            streams={name: Streams(it.stream, it.dead) for name, it in self.streams.items()},
            archives={name: it.bucket for name, it in self.archives.items()},
            items={name: it.table for name, it in self.items.items()},
            topics={name: it.topic for name, it in self.topics.items()},
            notices=None if self.notices is None else self.notices.key,
            keys=None if self.keys is None else self.keys.table,
            secrets={name: it.secret for name, it in self.secrets.items()},
        )

    def _told(self) -> Iterator[tuple[str, str]]:
        for channel, index in self.tables.items():
            yield outputs.channel_table(channel), index.table.table_name
            if index.table.table_stream_arn is not None:
                yield outputs.table_stream(channel), index.table.table_stream_arn
        for channel, queue in self.queues.items():
            yield outputs.queue_name(channel), queue.queue.queue_name
            yield outputs.queue_url(channel), queue.queue.queue_url
            yield outputs.queue_arn(channel), queue.queue.queue_arn
            yield outputs.dead_letters(channel), queue.dead.queue_arn
        for channel, stream in self.streams.items():
            yield outputs.stream_name(channel), stream.stream.stream_name
            yield outputs.stream_arn(channel), stream.stream.stream_arn
            for consumer, dead in stream.dead.items():
                yield outputs.dead_letters(channel, consumer), dead.queue_arn
        for name, archive in self.archives.items():
            yield outputs.archive_name(name), archive.bucket.bucket_name
            yield outputs.archive_url(name), archive.bucket.url_for_object()
        for name, items in self.items.items():
            yield outputs.channel_table(name), items.table.table_name
        for name, topic in self.topics.items():
            yield outputs.topic_arn(name), topic.topic.topic_arn
        if self.notices is not None:
            yield outputs.NOTICES_KEY, self.notices.key.key_arn
        yield outputs.BODIES_BUCKET, self.bodies.bucket.bucket_name
        if self.keys is not None:
            yield outputs.KEYS_TABLE, self.keys.table.table_name
        for name, secret in self.secrets.items():
            yield outputs.secret_arn(name), secret.secret.secret_arn


class DataStack(Stack):
    """What must outlive a mistake in what serves it."""

    def __init__(self, scope: Construct, id: str, *, app: App, stage: Stage, **options: object) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        check_fit(app, stage)
        self.storage = Storage(self, app=app, stage=stage)
        tell(self, stage, self.storage.told())


class Imported:
    """What a DataStack holds, as another stack sees it: by its outputs, under names that can be told.

    What is exported cannot be removed as long as another stack imports it, and the stack that stores is deployed first;
    so tables, buckets and secrets are taken from outputs as such. ARNs of which the CDK makes names are imported: a
    part of an output cannot be taken.
    """

    def __init__(self, scope: Construct, data: DataStack) -> None:
        self._place = Construct(scope, "Data")
        self._stack = data.stack_name
        self._storage = data.storage

    @property
    def stored(self) -> Stored:
        """All of it, to be taken once."""
        storage = self._storage
        return Stored(
            bodies=self._bucket(outputs.BODIES_BUCKET),
            tables={channel: self._table(outputs.channel_table(channel)) for channel in storage.tables},
            table_streams={name: self._value(outputs.table_stream(name)) for name in storage.queues},
            queues={it.name: self._queues(it) for it in storage.app.channels if it.queue is not None},
            streams={name: self._streams(name, it) for name, it in storage.streams.items()},
            archives={name: self._bucket(outputs.archive_name(name)) for name in storage.archives},
            items={name: self._table(outputs.channel_table(name)) for name in storage.items},
            notices=None if storage.notices is None else self._key(outputs.NOTICES_KEY),
            topics={name: self._topic(outputs.topic_arn(name)) for name in storage.topics},
            keys=None if storage.keys is None else self._table(outputs.KEYS_TABLE),
            secrets={name: self._secret(outputs.secret_arn(name)) for name in storage.secrets},
        )

    def _queues(self, channel: Channel) -> Queues:
        name, fifo = channel.name, channel.queue is not None and working(channel, channel.queue).fifo
        return Queues(
            self._queue(outputs.queue_arn(name), outputs.queue_url(name), fifo=fifo),
            self._queue(outputs.dead_letters(name), fifo=fifo),
        )

    def _streams(self, name: str, stream: MessageStream) -> Streams:
        arn = outputs.stream_arn(name)
        found = kinesis.Stream.from_stream_arn(self._place, arn, self._value(arn))
        return Streams(found, {it: self._queue(outputs.dead_letters(name, it)) for it in stream.dead})

    def _value(self, output: str) -> str:
        return Fn.import_value(f"{self._stack}-{output}")

    def _removable(self, output: str) -> str:
        return Fn.get_stack_output(self._stack, output)

    def _table(self, output: str) -> dynamodb.ITable:
        return dynamodb.Table.from_table_name(self._place, output, self._removable(output))

    def _bucket(self, output: str) -> s3.IBucket:
        return s3.Bucket.from_bucket_name(self._place, output, self._removable(output))

    def _queue(self, arn: str, url: str = "", *, fifo: bool = False) -> sqs.IQueue:
        return sqs.Queue.from_queue_attributes(
            self._place, arn, queue_arn=self._value(arn), queue_url=self._value(url) if url else None, fifo=fifo
        )

    def _key(self, output: str) -> kms.IKey:
        return kms.Key.from_key_arn(self._place, output, self._value(output))

    def _topic(self, output: str) -> sns.ITopic:
        return sns.Topic.from_topic_arn(self._place, output, self._value(output))

    def _secret(self, output: str) -> secretsmanager.ISecret:
        return secretsmanager.Secret.from_secret_complete_arn(self._place, output, self._removable(output))


def tell(stack: Stack, stage: Stage, told: Mapping[str, str]) -> None:
    """Give a stack its outputs; and those that the stage asks for beside them."""
    for name, value in told.items():
        CfnOutput(stack, name, value=value, export_name=f"{stack.stack_name}-{name}")
    for name, meant in stage.outputs.items():
        if meant in told:
            CfnOutput(stack, name, value=told[meant], export_name=stage.export(stack.stack_name, name))
