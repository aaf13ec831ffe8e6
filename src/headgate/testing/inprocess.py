"""A user's app in process, on the real local engine: in a temporary folder, by a clock moved by hand, with no port."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from headgate.clock import ManualClock
from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam
from headgate.declare.channel import Channel
from headgate.declare.compile import places
from headgate.declare.express import handed
from headgate.declare.table import Table
from headgate.declare.task import Workflow
from headgate.declare.topic import Topic
from headgate.engine import Execution, Lease, Notice, Topics
from headgate.gate.consume import Consuming, Reading
from headgate.gate.handle import Handling, Report
from headgate.gate.verify import new_api_key
from headgate.gate.work import Archived, Attempt, Effect, Handle, Promote, Settle, Steps, Work, in_groups
from headgate.local.engine import LocalEngine
from headgate.local.executions.services import TaskFailed
from headgate.local.finisher import Finisher
from headgate.local.keys import new_iam_key
from headgate.local.server import Server
from headgate.local.starts import Starts
from headgate.local.state import StateFolder
from headgate.local.stream import Lane, Mark, logs_of
from headgate.local.task_hand import answered
from headgate.local.workflows import LocalWorkflows, services
from headgate.message import Message
from headgate.testing.answer import Answer, Headers
from headgate.testing.credentials import SENDER, Credentials

_PAGE = 1_000
_REPLY_S = 120
_HOST = "test"
_CLOSED = "The app under test was closed."


class AppUnderTest:
    """An app that is up. `clock` stands still until a test moves it: `clock.advance(60)` is a minute.

    Secrets that are not in the environment are invented.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self.app = app
        self.clock = ManualClock()
        self._api_keys: dict[tuple[str, str], str] = {}
        self._access_keys: dict[str, dict[str, str]] = {}
        self._told: list[tuple[str, Notice]] = []
        state = StateFolder(folder)
        with ExitStack() as up:
            state.hold()
            up.callback(state.release)
            settings = state.settings(app, os.environ, invent=True)
            channels = [channel.name for channel in app.channels]
            dice = Random()  # noqa: S311 - no secret
            self._engine = LocalEngine(state.store, channels, self.clock, dice=dice, logs=logs_of(app))
            up.callback(self._engine.close)
            self._server = Server(app, self._engine, settings, self.clock)
            gate = self._server.driver.gate
            self._works = [
                Work(gate.plan_of(channel), delivery, self.clock, gate.observer)
                for channel in app.channels
                if (delivery := channel.queue or channel.stream) is not None
            ]
            self._readings = {
                (consuming, shard): Reading(consuming, None)
                for channel in app.channels
                for handler in (channel.handlers if channel.stream else ())
                for consuming in [Consuming(channel, handler.name, self.clock, gate.observer)]
                for shard in self._engine.stream.shards(channel.name)
            }
            self._wait_until_s: dict[Reading, float] = {}
            self._workflows = self._run_workflows(app, folder, settings, up)
            self._up = up.pop_all()
        self._settings = settings
        self._guard = threading.Lock()
        self._closed = False
        self._stop: asyncio.Event
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="headgate-app", daemon=True)
        self._thread.start()

    def send(
        self,
        path: str,
        json: Any = None,
        *,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        token: str | None = None,
        as_: str = SENDER,
        auth: bool = True,
    ) -> Answer:
        """Send a request and wait for the answer.

        `json` is sent as JSON, `body` as it is. What the channel asks of a sender is filled in, with `as_` for a
        name, unless `headers` has it already, or `token` is given, or `auth=False`.
        """
        content = b"" if method != "POST" and json is None and body is None else _content(json, body)
        shown = dict(headers or {})
        if token is not None:
            shown["Authorization"] = f"Bearer {token}"
        elif auth:
            shown = {**self._credentials_for(method, path, content, as_), **shown}
        if content and "content-type" not in map(str.lower, shown):
            shown["Content-Type"] = "application/json"
        loop = self._loop.result()
        with self._guard:
            if self._closed:
                raise RuntimeError(_CLOSED)
            waiting = asyncio.run_coroutine_threadsafe(self._ask(method, path, shown, content), loop)
        try:
            return waiting.result(_REPLY_S)
        except CancelledError:
            raise RuntimeError(_CLOSED) from None

    def messages(self, channel: str, **where: object) -> list[Message]:
        """The stored messages of a channel (its name or path), newest first; `where` names declared indexes."""
        found = self._channel(channel)
        if undeclared := where.keys() - {index.name for index in found.indexes}:
            raise LookupError(f"{', '.join(sorted(undeclared))}: not declared with `indexes=` on {found.path}")
        messages = self._all(found.name, None, None)
        for name, value in where.items():
            with_value = {(message.scope, message.key) for message in self._all(found.name, name, _text(value))}
            messages = [message for message in messages if (message.scope, message.key) in with_value]
        return messages

    def archived(self, archive: str, name: str) -> bytes | None:
        """The bytes of an object in the archive of a channel (its name or path), or in one that workflows save to;
        None where there is none."""
        saved_to = {place for workflow in self.app.workflows for place in places(workflow.document)}
        known = ("archive", archive) in saved_to
        return self._engine.archive.get(archive if known else self._channel(archive).name, name)

    def items(self, table: str) -> list[dict[str, Any]]:
        """What workflows keep in a table, in the order of the keys, as DynamoDB writes it: `{"id": {"S": "1"}}`."""
        _declared(table, "table", self.app.tables)
        return self._engine.items(self.app.tables).find(table)

    def notices(self, topic: str) -> list[Notice]:
        """What workflows have told a topic, oldest first."""
        _declared(topic, "topic", self.app.topics)
        return [notice for told, notice in self._told if told == topic]

    def runs(self, workflow: str) -> list[Execution]:
        """The executions of a workflow, the one started last first, each with what the workflow was handed."""
        _declared(workflow, "workflow", self.app.workflows)
        assert self._workflows is not None, "an app with a workflow has them at work"
        found = self._workflows.executions.find(workflow, None, _PAGE).executions
        return [run._replace(input=handed(run.input)) for run in found]

    def drain(self) -> None:
        """Let everything that happens in the background happen: messages that are due are worked off, in any order,
        by their handlers, here and in this thread; records are handed to consumers; schedules fire and workflows go on;
        and expired messages are removed. What waits for another attempt is due when the `clock` was moved as far."""
        while sum(self._work_off(work) for work in self._works) + sum(map(self._consume, self._readings)):
            pass
        finisher = Finisher(self.app.channels, self._engine, self.clock)
        while finisher.sweep() or self._engine.index.sweep():
            pass
        if self._workflows is not None:
            self._workflows.scheduler.fire()
            self._workflows.executions.settle()
            self._workflows.starts.settle()

    def _run_workflows(
        self, app: App, folder: Path, settings: Mapping[str, str], up: ExitStack
    ) -> LocalWorkflows | None:
        """The app's workflows, with tasks that are called in this process; schedules fire in `drain`."""
        if not app.workflows:
            return None
        tasks = {task.name: task for task in app.tasks}

        def invoke(name: str, event: Any, _: str) -> Any:
            answer = json.loads(answered(tasks[name], event))
            if "error" in answer:
                raise TaskFailed(answer["error"], answer["cause"])
            return answer["result"]

        starts = Starts(app, self._engine.queue, self.clock)
        topics = _Telling(self._engine.topics(app.topics, settings), self._told)
        items = self._engine.items(app.tables)
        rooms = services(topics, self._engine.archive, items, self._engine.index, self.clock)
        workflows = LocalWorkflows(app, folder, invoke, rooms, self._engine.due, self.clock, starts=starts)
        up.callback(workflows.close)
        self._engine.workflows = workflows
        return workflows

    def _work_off(self, work: Work) -> int:
        """Make one attempt at each message of a channel that is due, if there are not too many; how many it were."""
        leases = self._engine.queue.claim(work.channel.name, _PAGE, work.lease_ms)
        attempts = [Attempt(lease, self._steps(work, lease)) for lease in leases]
        to_handle = [attempt for attempt in attempts if not self._settled(next(attempt.steps), attempt.steps)]
        for handler in work.channel.handlers:
            handling = Handling(work.channel, handler, self.clock)
            mine = [one for one in to_handle if not work.channel.stream or one.lease.message.scope == handler.name]
            for group in in_groups(mine, work.channel.needs.batch):
                reports = handling.handle([attempt.lease.message for attempt in group])
                for attempt, report in zip(group, reports, strict=True):
                    self._settled(attempt.steps.send(report), attempt.steps)
            handling.close()
        return len(leases)

    def _consume(self, which: tuple[Consuming, str]) -> int:
        """Hand a consumer the next records of a shard; how many it were, or 0 where it has to wait."""
        consuming, shard = which
        reading, stream = self._readings[which], self._engine.stream
        if self._wait_until_s.get(reading, 0) > self.clock.elapsed_s():
            return 0
        records = stream.read(consuming.channel.name, shard, reading.after, reading.size)
        if not records:
            return 0
        reports: list[Report] = []
        if messages := reading.begin(records):
            handler = next(one for one in consuming.channel.handlers if one.name == consuming.consumer)
            handling = Handling(consuming.channel, handler, self.clock)
            reports = handling.handle(messages)
            handling.close()
        follow = reading.told(reports)
        stream.move(consuming.channel.name, consuming.consumer, {Lane(shard): Mark(follow.after)}, follow.letters)
        reading.go(follow)
        self._wait_until_s[reading] = self.clock.elapsed_s() + follow.wait_s
        return len(records)

    def _steps(self, work: Work, lease: Lease) -> Steps:
        return work.look(lease) if self._engine.queue.is_unread(lease) else work.attempt(lease)

    def _settled(self, effect: Effect, steps: Steps) -> bool:
        """Carry out what is to be written; False where the handler is to try first."""
        with suppress(StopIteration):
            while True:
                match effect:
                    case Handle():
                        return False
                    case Archived(object_):
                        effect = steps.send(self._engine.archive.put([object_])[0] or "")
                    case Settle(lease, settlement):
                        effect = steps.send(self._engine.queue.settle(lease, settlement))
                    case Promote(lease, message):
                        effect = steps.send(self._engine.queue.promote(lease, message))
        return True

    def close(self) -> None:
        """Stop, and let go of the folder. Who waits for an answer meanwhile gets 503, and who sends later an
        error."""
        loop = self._loop.result()
        with self._guard:
            if self._closed:
                return
            self._closed = True
            loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._server.driver.close()
        self._up.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await self._server.driver.end()

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": _raw(target).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (b"host", _HOST.encode()),
                (b"content-length", b"%d" % len(body)),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(event: MutableMapping[str, Any]) -> None:
            sent.append(event)

        await self._server(scope, receive, send)
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        content = b"".join(event.get("body", b"") for event in sent[1:])
        return Answer(sent[0]["status"], Headers(pairs), b"" if method == "HEAD" else content)

    def _credentials_for(self, method: str, path: str, body: bytes, sender: str) -> dict[str, str]:
        target, mark, query = path.partition("?")
        url = f"http://{_HOST}{_raw(target)}{mark}{query}"
        parent = target.rpartition("/")[0] or "/"
        for channel in sorted(self.app.channels, key=lambda channel: channel.path != target):
            if channel.path in (target, parent):
                if isinstance(channel.auth, ApiKey):
                    return {"Authorization": f"Bearer {self._api_key(channel, sender)}"}
                iam = self._access_key(channel.auth, sender) if isinstance(channel.auth, Iam) else {}
                credentials = Credentials(self._settings, self.clock, {}, iam)
                return credentials.headers(channel, body, sender=sender, url=url, method=method)
        return {}

    def _api_key(self, channel: Channel, sender: str) -> str:
        if (channel.name, sender) not in self._api_keys:
            key, row = new_api_key(channel.name, sender, self.clock.now_ms())
            self._engine.keys.add_api_key(row)
            self._api_keys[channel.name, sender] = key
        return self._api_keys[channel.name, sender]

    def _access_key(self, auth: Iam, sender: str) -> dict[str, str]:
        if sender not in self._access_keys:
            row = new_iam_key("", sender, self.clock.now_ms())
            self._engine.keys.add_iam_key(row)
            self._access_keys[sender] = {"access_key_id": row.id, "secret_access_key": row.secret}
        return {**self._access_keys[sender], "region": auth.region, "service": auth.service}

    def _channel(self, name: str) -> Channel:
        for channel in self.app.channels:
            if name in (channel.name, channel.path):
                return channel
        raise LookupError(f"{name}: the app has {', '.join(channel.name for channel in self.app.channels)}")

    def _all(self, channel: str, field: str | None, value: str | None) -> list[Message]:
        found: list[Message] = []
        after = None
        while True:
            page = self._engine.index.find(channel, None, field, value, _PAGE, after)
            found += page.messages
            if (after := page.next) is None:
                return found


class _Telling(Topics):
    """The topics of the engine, which remember here what they were told."""

    def __init__(self, topics: Topics, told: list[tuple[str, Notice]]) -> None:
        self._topics = topics
        self._told = told

    def publish(self, topic: str, notice: Notice) -> str:
        id_ = self._topics.publish(topic, notice)
        self._told.append((topic, notice))
        return id_


def _raw(path: str) -> str:
    """A path as it is sent."""
    return quote(path, safe="/%:@!$&'()*+,;=~-._")


def _declared(name: str, what: str, declared: Iterable[Table | Topic | Workflow]) -> None:
    """Raise LookupError for a name that the app does not declare: a misspelt one would have nothing for ever."""
    known = [one.name for one in declared]
    if name not in known:
        raise LookupError(f"{name}: the app has the {what}s {', '.join(known)}" if known else f"the app has no {what}")


def _content(value: Any, body: bytes | str | None) -> bytes:
    if body is not None:
        return body.encode() if isinstance(body, str) else body
    return json.dumps(value, ensure_ascii=False).encode()


def _text(value: object) -> str:
    """A value as it is indexed: text as it is, everything else as JSON spells it."""
    return value if isinstance(value, str) else json.dumps(value)
