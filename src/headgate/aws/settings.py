"""The environment of our Lambda functions: the one table of names, written by the stacks and read by the functions.

A setting that the app names with `Env("X")` is passed on as X itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.declare.stage import STAGE_VARIABLE
from headgate.errors import Misuse

APP = "HEADGATE_APP"
"""Where the app is: `module:attribute`, as in `app:app`."""
STAGE = STAGE_VARIABLE
"""The stage, as in `prod`; what `headgate.stage()` answers."""
CHANNEL = "HEADGATE_CHANNEL"
"""Whatever serves one channel: its name."""
CHANNELS = "HEADGATE_CHANNELS"
"""Authorizer: the names of the channels it lets senders into, with commas between them. All declare the same auth."""
TABLE = "HEADGATE_TABLE"
"""Whoever serves one channel: the channel's table."""
BODIES = "HEADGATE_BODIES"
"""Whoever has a table: the bucket of the bodies that are too large for a row."""
KEYS = "HEADGATE_KEYS"
"""Authorizer of `ApiKey`: the table of the API keys."""
SECRETS = "HEADGATE_SECRETS"
"""Whoever needs a Secret: a JSON object of `{name in the app: ARN in Secrets Manager}`, of those it needs alone."""

QUEUE = "HEADGATE_QUEUE"
"""Forwarder, worker and sweep of a Queued channel: the URL of its queue."""
STREAM = "HEADGATE_STREAM"
"""Ingest, sweep and buried of a Stream channel: the name of its stream."""
CONSUMER = "HEADGATE_CONSUMER"
"""Consumer: the name of the handler that it runs."""
ARCHIVE = "HEADGATE_ARCHIVE"
"""Ingest and sweep of a Direct channel with `archive=`, worker of a Queued one: the bucket of its objects, its own."""
TASK = "HEADGATE_TASK"
"""Task: the name of the one that the function runs."""
WORKFLOWS = "HEADGATE_WORKFLOWS"
"""Ingest and sweep of a Direct channel with `workflow=`: a JSON object of `{its name: ARN of its state machine}`."""
ENDED = "HEADGATE_ENDED"
"""Ingest and sweep of such a channel whose workflow is Express: the ARN of the channel's function `ended`."""
TOPICS = "HEADGATE_TOPICS"
"""Whoever tells people: a JSON object of `{name of a topic: ARN}`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment of one function, read. What it was not given is empty."""

    app: str
    stage: str
    channels: tuple[str, ...] = ()
    table: str = ""
    bodies: str = ""
    keys: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""
    stream: str = ""
    consumer: str = ""
    archive: str = ""
    topics: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    workflows: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in an environment. Raises Misuse where there is no app in it, or the secrets are no JSON."""
        names = environment.get(CHANNELS) or environment.get(CHANNEL, "")
        if not environment.get(APP):
            raise Misuse(f"{APP} is not set: this function was not deployed by `headgate deploy`.")
        return cls(
            app=environment[APP],
            stage=environment.get(STAGE, "dev"),
            channels=tuple(name for name in names.split(",") if name),
            table=environment.get(TABLE, ""),
            bodies=environment.get(BODIES, ""),
            keys=environment.get(KEYS, ""),
            secrets=_arns(SECRETS, environment),
            queue=environment.get(QUEUE, ""),
            stream=environment.get(STREAM, ""),
            consumer=environment.get(CONSUMER, ""),
            archive=environment.get(ARCHIVE, ""),
            topics=_arns(TOPICS, environment),
            task=environment.get(TASK, ""),
            workflows=_arns(WORKFLOWS, environment),
            ended=environment.get(ENDED, ""),
        )

    def written(self) -> dict[str, str]:
        """The environment that `read` makes the same settings of."""
        one = len(self.channels) == 1
        values = {
            APP: self.app,
            STAGE: self.stage,
            (CHANNEL if one else CHANNELS): ",".join(self.channels),
            TABLE: self.table,
            BODIES: self.bodies,
            KEYS: self.keys,
            SECRETS: json.dumps(self.secrets) if self.secrets else "",
            QUEUE: self.queue,
            STREAM: self.stream,
            CONSUMER: self.consumer,
            ARCHIVE: self.archive,
            TOPICS: json.dumps(self.topics) if self.topics else "",
            TASK: self.task,
            WORKFLOWS: json.dumps(self.workflows) if self.workflows else "",
            ENDED: self.ended,
        }
        return {name: value for name, value in values.items() if value}


def _arns(name: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    try:
        found = json.loads(environment.get(name, "{}"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(arn, str) for arn in found.values()):
        raise Misuse(f"{name} is not a JSON object of names and ARNs.")
    return found
