"""Serving an app from a socket, as `serve` does, and every version of it under `dev`."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn, Protocol

import click

from headgate import __version__, limits
from headgate.cli.outline import auth_words, model_words
from headgate.cli.place import visible
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.auth import Auth, Public, Signed
from headgate.gate.answer import Gate
from headgate.gate.observe import Observer
from headgate.http import new_id
from headgate.local.alarms import LocalAlarms
from headgate.local.engine import LocalEngine
from headgate.local.finisher import Finisher
from headgate.local.server import Running, Server, url_of
from headgate.local.signals import enders
from headgate.local.state import StateFolder
from headgate.local.stream import logs_of
from headgate.local.topics import LocalTopics
from headgate.local.workers import Workers


class Serving(Protocol):
    """What serves, in one process or in several."""

    def run(self) -> None:
        """Serve, on the main thread, until it is to stop; requests in flight are finished."""

    def stop(self) -> None:
        """End `run`; may be called from any thread."""


def serve_app(
    app: App,
    settings: Mapping[str, str],
    state: StateFolder,
    sock: socket.socket,
    clock: Clock,
    *,
    target: str,
    running: Callable[[Server, socket.socket], Serving] = Running,
    patience_s: float = limits.DRAIN.value,
    opened: Callable[[LocalEngine, Serving], None],
) -> socket.socket | None:
    """Serve until a signal or `Serving.stop` ends it; requests in flight are finished. `running` makes what serves.

    Handlers run meanwhile, in processes that load the app from `target`; then those in work get `patience_s`. `opened`
    is called once, when the store is open. Returns the socket, open still, where the store broke in a way that only a
    new process can mend; so senders wait meanwhile.
    """
    state.hold()
    try:
        kept: list[socket.socket] = []
        up: list[Serving] = []
        reserve = [os.open(os.devnull, os.O_RDONLY)]  # a descriptor for the day when there are no more

        def broke() -> None:
            while reserve:
                os.close(reserve.pop())
                with suppress(OSError):  # closed already: it stops anyway
                    kept.append(sock.dup())  # the server closes the one it was given
            for served in up:
                served.stop()

        engine = LocalEngine(state.store, [channel.name for channel in app.channels], clock, broke, logs=logs_of(app))
        try:
            server = Server(app, engine, dict(settings), clock, state.announce(url_of(sock)))
            served = running(server, sock)
            up.append(served)
            if kept:  # it broke before anybody could be told
                served.stop()
            workers = Workers(app, target, engine, server.driver.gate, settings, clock)
            finisher = Finisher(app.channels, engine, clock)
            try:
                with workflows_of(app, target, state.path, settings, clock, engine, broke) as topics:
                    finisher.start()
                    failures = {} if engine.workflows is None else engine.workflows.failures
                    alarms = LocalAlarms(
                        app, engine.queue, engine.stream, server.observer, topics, clock, engine.standings(), failures
                    )
                    alarms.start()
                    try:
                        opened(engine, served)
                        served.run()
                    finally:
                        alarms.close()
                        finisher.close()
            finally:
                server.driver.close()
                workers.stop(0 if kept else patience_s)
        finally:
            engine.close()
        for descriptor in reserve:
            os.close(descriptor)
        return kept[0] if kept else None
    finally:
        state.release()


@contextmanager
def workflows_of(
    app: App,
    target: str,
    folder: Path,
    settings: Mapping[str, str],
    clock: Clock,
    engine: LocalEngine,
    on_broken: Callable[[], None],
) -> Iterator[LocalTopics]:
    """The app's topics, and its workflows and schedules, at work; nothing where it has none."""
    with ExitStack() as up:
        topics = engine.topics(app.topics, settings)
        if app.topics:
            topics.start()
            up.callback(topics.close)
        if app.workflows:
            # Interpreter, JSONPath and process pools are loaded where there is something to run.
            from headgate.local.starts import Starts
            from headgate.local.tasks import LocalTasks
            from headgate.local.workflows import LocalWorkflows, services

            tasks = LocalTasks(app, target, settings)
            up.callback(tasks.close)
            rooms = services(topics, engine.archive, engine.items(app.tables), engine.index, clock)
            starts = Starts(app, engine.queue, clock)
            workflows = LocalWorkflows(
                app, folder, tasks.invoke, rooms, engine.due, clock, starts=starts, on_broken=on_broken
            )
            up.callback(workflows.join)
            up.callback(tasks.close)
            up.callback(workflows.close)
            engine.workflows = workflows
            workflows.start()
        yield topics


def check_settings(app: App, settings: Mapping[str, str], clock: Clock) -> None:
    """Raise Misuse for a setting that has a value, but one that cannot be used."""
    Gate(app, settings, clock, Observer(), new_id)


def leave_when_told() -> None:
    """Until the server has handlers of its own: end in good order, with exit code 0."""

    def leave(*_: object) -> NoReturn:
        sys.exit(0)

    for number in enders():
        signal.signal(number, leave)


def greet(app: App, sock: socket.socket, state: StateFolder) -> None:
    """The few lines that a server starts with."""
    url = url_of(sock)
    print(f"headgate {__version__} serves {app.name} at {url}")
    width = max(len(channel.path) for channel in app.channels)
    for channel in app.channels:
        model = f"list of {model_words(channel)}" if channel.many else model_words(channel)
        print(f"  POST {channel.path.ljust(width)}  {model}, from {_senders(channel.auth)}")
    print(f"Docs:  {url}/-/docs")
    print(f"State: {state.path}", flush=True)
    for warning in app.warnings():
        click.echo(f"warning: {warning}", err=True)
    if any(isinstance(channel.auth, Public) for channel in app.channels) and not _only_here(sock):
        click.echo("warning: anyone who reaches this machine may post to the Public channels.", err=True)


def _senders(auth: Auth) -> str:
    match auth:
        case Public():
            return auth_words(auth)
        case Signed(style=style):
            return f"whoever signs it ({style})"
    return f"whoever has credentials ({auth_words(auth)})"


def _only_here(sock: socket.socket) -> bool:
    return ip_address(sock.getsockname()[0]).is_loopback


def set_up_logging(log_format: str) -> None:
    """Log to stderr, one line a record."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else PlainLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class PlainLines(logging.Formatter):
    """`2026-01-01T00:00:00Z INFO headgate.gate what happened`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class JsonLines(logging.Formatter):
    """The same as a JSON object."""

    def __init__(self) -> None:
        super().__init__(None, "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)
