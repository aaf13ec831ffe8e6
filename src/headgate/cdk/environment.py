"""What functions are told in their environment, and what an app's settings are where its stacks are made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.aws.settings import Settings
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.handler import Needs
from headgate.declare.settings import Env, Secret
from headgate.declare.topic import Topic
from headgate.errors import Misuse


def env_of(app: App) -> dict[str, str]:
    """What `Env("X")` is here, by its name. Raises Misuse where it is nothing."""
    found = {}
    for owner, setting in app.settings():
        if isinstance(setting, Env):
            value = os.environ.get(setting.name) or setting.default
            if not value:
                raise Misuse(f"{owner.where}: {setting.name} is not set: set it, then synthesize again.")
            found[setting.name] = value
    return found


def secrets_of(app: App) -> list[str]:
    """The names of the Secrets that functions need. Those of topics are not among them: SNS signs in its own way."""
    asked = app.settings()
    return sorted({it.name for owner, it in asked if isinstance(it, Secret) and not isinstance(owner, Topic)})


def secrets_of_auth(app: App, channels: Sequence[Channel]) -> list[str]:
    """The names of the Secrets that the auth of channels refers to."""
    return sorted({it.name for channel, it in app.auth_settings() if channel in channels and isinstance(it, Secret)})


@dataclass(frozen=True)
class Surroundings:
    """What every function of an app is told. `reference` is where it finds the app: `module:attribute`; `env` is what
    `env_of` found; `arns` are those of the secrets, by their names."""

    app: App
    reference: str
    stage: str
    env: Mapping[str, str]
    arns: Mapping[str, str]

    def settings(self, channels: Sequence[Channel] = (), secrets: Sequence[str] = ()) -> Settings:
        """Those of a function that serves these channels and reads these secrets."""
        names = tuple(channel.name for channel in channels)
        return Settings(self.reference, self.stage, names, secrets={name: self.arns[name] for name in secrets})

    def variables(self, settings: Settings, needs: Needs | None = None) -> dict[str, str]:
        """The environment of a function; with what the user's code in it needs."""
        own = {} if needs is None else {name: self._value(value) for name, value in needs.env.items()}
        return {**self.env, **own, **settings.written()}

    def _value(self, value: str | Env) -> str:
        return self.env[value.name] if isinstance(value, Env) else value
