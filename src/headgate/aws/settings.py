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
"""Ingest and query: the name of the one channel that the function serves."""
CHANNELS = "HEADGATE_CHANNELS"
"""Authorizer: the names of the channels it lets senders into, with commas between them. All declare the same auth."""
TABLE = "HEADGATE_TABLE"
"""Ingest and query: the channel's table."""
BODIES = "HEADGATE_BODIES"
"""Ingest and query: the bucket of the bodies that are too large for a row."""
KEYS = "HEADGATE_KEYS"
"""Authorizer of `ApiKey`: the table of the API keys."""
SECRETS = "HEADGATE_SECRETS"
"""Whoever needs a Secret: a JSON object of `{name in the app: ARN in Secrets Manager}`, of those it needs alone."""


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
            secrets=_secrets(environment.get(SECRETS, "{}")),
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
        }
        return {name: value for name, value in values.items() if value}


def _secrets(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(arn, str) for arn in found.values()):
        raise Misuse(f"{SECRETS} is not a JSON object of names and ARNs.")
    return found
