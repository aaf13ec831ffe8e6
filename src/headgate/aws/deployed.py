"""The app that a function was deployed with."""

from __future__ import annotations

from importlib import import_module

from headgate.aws.settings import Settings
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.errors import Misuse


def app_of(settings: Settings) -> App:
    """The app that a function serves. It was checked when it was deployed, and is not checked again."""
    module, _, attribute = settings.app.partition(":")
    app = getattr(import_module(module), attribute, None)
    if not isinstance(app, App):
        raise Misuse(f"There is no App at {settings.app}.")
    return app


def channels_of(app: App, settings: Settings) -> list[Channel]:
    """The channels that a function is for."""
    found = {channel.name: channel for channel in app.channels}
    if unknown := [name for name in settings.channels if name not in found]:
        raise Misuse(f"The app has no channel {', '.join(unknown)}.")
    return [found[name] for name in settings.channels]
