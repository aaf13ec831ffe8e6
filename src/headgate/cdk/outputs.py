"""What the stacks and their outputs are called: written by the stacks, read by the command line. Imports no CDK."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.compile import places
from headgate.declare.stage import Stage

API_URL = "ApiUrl"
API_ID = "ApiId"
KEYS_TABLE = "KeysTableName"
BODIES_BUCKET = "BodiesBucketName"
NOTICES_KEY = "NoticesKeyArn"


def data_stack(app: App, stage: Stage) -> str:
    """The name of the stack of everything that is stored."""
    return stage.stack or stage.data_stack or f"{app.name}-{stage.name}-data"


def service_stack(app: App, stage: Stage) -> str:
    """The name of the stack of everything that serves; the same where there is one stack."""
    return stage.stack or stage.service_stack or f"{app.name}-{stage.name}-service"


def pipeline_stack(app: App) -> str:
    """The name of the stack of the app's pipeline."""
    return f"{app.name}-pipeline"


def channel_url(name: str) -> str:
    """The output with the URL of a channel."""
    return f"{pascal(name)}Url"


def channel_table(name: str) -> str:
    """The output with the name of a channel's table, or of one that workflows keep items in."""
    return f"{pascal(name)}TableName"


def table_stream(name: str) -> str:
    """The output with the ARN of the stream of a Queued channel's table."""
    return f"{pascal(name)}TableStreamArn"


def queue_name(name: str) -> str:
    """The output with the name of a channel's queue."""
    return f"{pascal(name)}QueueName"


def queue_url(name: str) -> str:
    """The output with the URL of a channel's queue."""
    return f"{pascal(name)}QueueUrl"


def queue_arn(name: str) -> str:
    """The output with the ARN of a channel's queue."""
    return f"{pascal(name)}QueueArn"


def dead_letters(name: str, consumer: str = "") -> str:
    """The output with the ARN of the dead letter queue of a channel, or of a consumer of its stream."""
    return f"{pascal(name)}{pascal(consumer)}DeadLettersArn"


def stream_name(name: str) -> str:
    """The output with the name of a channel's stream."""
    return f"{pascal(name)}StreamName"


def stream_arn(name: str) -> str:
    """The output with the ARN of a channel's stream."""
    return f"{pascal(name)}StreamArn"


def archive_name(name: str) -> str:
    """The output with the name of an archive's bucket."""
    return f"{pascal(name)}ArchiveName"


def archive_url(name: str) -> str:
    """The output with the URL of an archive's bucket."""
    return f"{pascal(name)}ArchiveUrl"


def topic_arn(name: str) -> str:
    """The output with the ARN of a topic."""
    return f"{pascal(name)}TopicArn"


def workflow_arn(name: str) -> str:
    """The output with the ARN of a workflow's state machine."""
    return f"{pascal(name)}WorkflowArn"


def task_name(name: str) -> str:
    """The output with the name of a task's function."""
    return f"{pascal(name)}TaskName"


def schedule_name(name: str) -> str:
    """The output with the name of what starts a workflow by the clock."""
    return f"{pascal(name)}ScheduleName"


def ingest_name(name: str) -> str:
    """The output with the name of the function that takes in what is posted to a channel."""
    return f"{pascal(name)}IngestName"


def of_channel(channel: Channel) -> Iterator[str]:
    """The outputs that tell of a channel."""
    name = channel.name
    yield from (channel_url(name), channel_table(name))
    if not channel.unread:
        yield ingest_name(name)
    if channel.queue is not None:
        yield from (table_stream(name), queue_name(name), queue_url(name), queue_arn(name), dead_letters(name))
    if channel.stream is not None:
        yield from (stream_name(name), stream_arn(name))
        yield from (dead_letters(name, handler.name) for handler in channel.handlers)
    if channel.archive is not None:
        yield from (archive_name(name), archive_url(name))


def archives(app: App) -> list[str]:
    """The names of an app's archives: that of a channel is the channel's, others are put into by workflows."""
    found = [channel.name for channel in app.channels if channel.archive is not None]
    asked = (name for workflow in app.workflows for kind, name in places(workflow.document) if kind == "archive")
    return list(dict.fromkeys([*found, *asked]))


def secret_arn(name: str) -> str:
    """The output with the ARN of a Secret."""
    return f"{pascal(name)}SecretArn"


def pascal(name: str) -> str:
    """`OrderLines` for `order-lines`, `OrdersJwtKey` for `ORDERS_JWT_KEY`: CloudFormation takes letters and digits."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    return "".join(word.capitalize() if word.isupper() else word[0].upper() + word[1:] for word in words)
