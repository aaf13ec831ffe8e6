"""An app: the whole declaration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec

from headgate.declare.channel import Channel
from headgate.declare.later import refuse_name
from headgate.declare.settings import Env, Secret
from headgate.declare.source import caller
from headgate.errors import DeclarationError, DeclarationFault

Options = ParamSpec("Options")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")


def _adding(make: Callable[Options, Channel]) -> Callable[Concatenate[App, Options], Channel]:
    """The method that makes a Channel and adds it to the app; its options are those of `Channel`, stated there."""

    def channel(self: App, /, *args: Options.args, **options: Options.kwargs) -> Channel:
        """Declare an endpoint; what cannot be honoured is said by `check`."""
        try:
            made = make(*args, **options)
        except TypeError as error:
            option = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if option is None:
                raise
            sentence = f"there is no channel option `{option[1]}=` in this version."
            raise DeclarationError(DeclarationFault(caller(), sentence)) from None
        self.channels.append(made)
        return made

    return channel


class App:
    """The whole declaration: a name, and channels.

        app = App("shop")
        app.channel("/orders", Order, key="record_id", auth=ApiKey())

    `name` is 1 to 63 letters, digits and hyphens, starting with a letter.
    """

    def __init__(self, name: str, *, title: str = "", description: str = "") -> None:
        self.where = caller()
        self.name = name
        self.title = title or name
        self.description = description
        self.channels: list[Channel] = []

    def __repr__(self) -> str:
        return f"<app {self.name} with {len(self.channels)} channels>"

    channel = _adding(Channel)

    def include(self, other: App) -> None:
        """Take over every channel of another app, so that one app can be written in several files."""
        self.channels.extend(other.channels)

    def __getattr__(self, name: str) -> Any:
        refuse_name(name)
        raise AttributeError(f"an App has no {name!r}")

    def check(self) -> None:
        """Raise DeclarationError with every fault, in the order of the declarations, unless there is none."""
        if faults := list(self._faults()):
            raise DeclarationError(*faults)

    def warnings(self) -> list[DeclarationFault]:
        """What is allowed but probably not meant."""
        return [warning for channel in self.channels for warning in channel.warnings()]

    def settings(self) -> Iterator[tuple[Channel, Secret | Env]]:
        """Every setting that a channel's auth refers to."""
        for channel in self.channels:
            auth = channel.auth
            for slot in getattr(type(auth), "__slots__", ()):
                value = getattr(auth, slot)
                for setting in value if isinstance(value, tuple) else (value,):
                    if isinstance(setting, Secret | Env):
                        yield channel, setting

    def _faults(self) -> Iterator[DeclarationFault]:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield DeclarationFault(
                self.where, f"app {self.name!r}: a name is 1 to 63 letters, digits and hyphens."
            )
        if not self.channels:
            yield DeclarationFault(
                self.where, "the app has no channel: declare one with app.channel(path, ...)."
            )
        for at, channel in enumerate(self.channels):
            yield from channel.faults()
            for earlier in self.channels[:at]:
                if sentence := _clash(earlier, channel):
                    yield DeclarationFault(
                        channel.where, f"channel {channel.path}: {sentence} ({earlier.where})."
                    )


def _clash(one: Channel, two: Channel) -> str | None:
    if one.path == two.path:
        return "the path is taken by another channel"
    if one.name == two.name:
        return f"the name {one.name!r} is taken by another channel"
    for outer, inner in ((one, two), (two, one)):
        below = outer.path.rstrip("/") + "/"
        if outer.read and inner.path.startswith(below) and "/" not in inner.path[len(below) :]:
            return f"{inner.path} overlaps with the messages that are read under {below}{{key}}"
    return None


def timedelta_ms(span: timedelta) -> int:
    """A span in whole milliseconds."""
    return span // timedelta(milliseconds=1)
