"""Where a command finds the app, and the state it keeps: the options --app and --state, taken by every command."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headgate.aws.index import DynamoIndex
    from headgate.aws.queue import DynamoQueue
    from headgate.cli.deployed import Deployed
    from headgate.declare.app import App
    from headgate.declare.channel import Channel
    from headgate.declare.task import Workflow
    from headgate.engine import Stream
    from headgate.local.index import LocalIndex
    from headgate.local.queue import LocalQueue
    from headgate.local.state import StateFolder
    from headgate.local.stream import LocalStream
    from headgate.testing.credentials import Credentials

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
stage_option = click.option(
    "--stage", metavar="NAME", help="Of the app that is deployed in that stage.  [default: of the local one]"
)

_META = "headgate.place"


@dataclass(frozen=True)
class Place:
    """`target` as `load_app` takes it; `folder` as it was said with --state; `stage` of the deployed app."""

    target: str = "."
    folder: Path | None = None
    stage: str | None = None

    def at(self, target: str | None) -> Place:
        """The place of an app that was said as an argument; this one where none was."""
        return self if target is None else replace(self, target=target)

    @cached_property
    def app(self) -> App:
        """The checked app, declared for the stage."""
        from headgate.declare.load import load_app
        from headgate.declare.stage import STAGE_VARIABLE

        if self.stage is not None:
            os.environ[STAGE_VARIABLE] = self.stage
        return load_app(self.target)

    @cached_property
    def app_folder(self) -> Path:
        """The folder the app lives in."""
        from headgate.declare.load import app_folder

        return app_folder(self.target)

    @cached_property
    def state(self) -> StateFolder:
        """The state folder: the one that was said, else `.headgate` beside the app."""
        from headgate.local.state import FOLDER_NAME, StateFolder

        return StateFolder(self.folder or self.app_folder / FOLDER_NAME)

    @cached_property
    def deployed(self) -> Deployed:
        """The app as it is deployed in the stage that was said."""
        from headgate.cli.deployed import find
        from headgate.declare.stage import stage

        return find(self.app, self.stage or stage())

    def channel(self, name: str) -> Channel:
        """The channel of that name or path. Raises Misuse where there is none."""
        from headgate.errors import Misuse

        for channel in self.app.channels:
            if name in (channel.name, channel.path):
                return channel
        known = ", ".join(channel.name for channel in self.app.channels)
        raise Misuse(f"There is no channel {visible(name)}; the app has {known}.")

    def workflow(self, name: str | None) -> Workflow:
        """The workflow of that name, or the only one where none is said. Raises Misuse where there is none."""
        from headgate.errors import Misuse

        found = self.app.workflows
        if name is None and len(found) == 1:
            return found[0]
        for workflow in found:
            if workflow.name == name:
                return workflow
        known = ", ".join(workflow.name for workflow in found)
        if not known:
            raise Misuse("The app has no workflow; declare one with app.workflow(name, definition).")
        raise Misuse(
            f"Say which workflow: {known}."
            if name is None
            else f"There is no workflow {visible(name)}; the app has {known}."
        )

    def credentials(self, channel: Channel) -> Credentials:
        """What opens the channel, as a running server knows it: the environment goes first, then what dev made up.

        Raises Misuse, with the way out, where something that the channel asks for is not known.
        """
        if self.stage is not None:
            return self.deployed.credentials(channel)
        from headgate.clock import SystemClock
        from headgate.declare.auth import ApiKey, Iam
        from headgate.declare.settings import Secret
        from headgate.errors import Misuse
        from headgate.testing.credentials import Credentials

        made_up = self.state.credentials()
        settings = {**made_up["secrets"], **{name: value for name, value in os.environ.items() if value}}
        for asking, setting in self.app.settings():
            known = setting.name in settings or not (isinstance(setting, Secret) or setting.default is None)
            if asking is channel and not known:
                raise Misuse(f"{setting.name} is not known: set it, or start `headgate dev` once, which makes one up.")
        if isinstance(channel.auth, ApiKey) and channel.name not in made_up["api_keys"]:
            raise Misuse(
                f"There is no development key for {channel.path} yet: start `headgate dev` once, which makes one up, "
                f"or make one with `headgate keys create {channel.name}` and send it as -H 'X-Api-Key: KEY'."
            )
        if isinstance(channel.auth, Iam) and "iam" not in made_up:
            raise Misuse(
                f"There is no development access key yet: start `headgate dev` once, which makes one up, or make one "
                f"with `headgate keys create {channel.name}` and sign with it."
            )
        return Credentials(settings, SystemClock(), made_up["api_keys"], made_up.get("iam", {}))

    @contextmanager
    def index(self) -> Iterator[LocalIndex | DynamoIndex]:
        """The messages, for reading: of the deployed app where a stage was said, else of the local one."""
        with self.local_index() if self.stage is None else self.deployed.index() as index:
            yield index

    @contextmanager
    def local_index(self) -> Iterator[LocalIndex]:
        """The store, for reading; also beside a running server."""
        from headgate.clock import SystemClock
        from headgate.local.engine import open_index

        index = open_index(self.state.store, SystemClock())
        try:
            yield index
        finally:
            index.close()

    @contextmanager
    def rooms(self) -> Iterator[tuple[LocalIndex | DynamoIndex, LocalQueue | DynamoQueue]]:
        """The messages and their queues, for reading, as `index` has them."""
        if self.stage is not None:
            with self.deployed.rooms() as rooms:
                yield rooms
            return
        from headgate.clock import SystemClock
        from headgate.local.queue import LocalQueue

        with self.local_index() as index:
            yield index, LocalQueue(None, index, index.journal, SystemClock())

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        """The streams, for reading: of the deployed app where a stage was said, else of the local one."""
        with self.local_stream() if self.stage is None else self.deployed.stream() as stream:
            yield stream

    @contextmanager
    def local_stream(self) -> Iterator[LocalStream]:
        """The streams of the store, for reading; also beside a running server."""
        from headgate.clock import SystemClock
        from headgate.local.stream import LocalStream, logs_of

        with self.local_index() as index:
            yield LocalStream(index, logs_of(self.app), SystemClock(), None)


def placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --app and --state, and hand it their Place as its first argument, together with what
    it has of an option --stage.

    What was said before a subcommand holds for the subcommand, unless it says otherwise itself.
    """

    @click.option("--app", "target", metavar="PATH", help="A folder with app.py, a file, or module:app.  [default: .]")
    @click.option(
        "--state",
        "folder",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where messages are kept.  [default: .headgate beside the app]",
    )
    @click.pass_context
    @functools.wraps(command)
    def with_place(
        context: click.Context,
        /,
        *args: Any,
        target: str | None,
        folder: Path | None,
        stage: str | None = None,
        **options: Any,
    ) -> Any:
        outer: Place = context.meta.get(_META, Place())
        place = Place(target or outer.target, folder or outer.folder, stage or outer.stage)
        context.meta[_META] = place
        return context.invoke(command, place, *args, **options)

    return with_place


def visible(text: str, also: str = "") -> str:
    """Text that is safe on a terminal: what it could take for a command, or would not show, is escaped."""
    return "".join(
        char if char.isprintable() or char in also else char.encode("unicode_escape").decode() for char in text
    )
