"""A gate over a real store, driven by hand: what it decides, without a server around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate import App
from headgate.gate.answer import Gate
from headgate.gate.effects import Admit, Backlog, Call, Commit, Effect, Find, Get, ReadBody
from headgate.gate.observe import Observer
from headgate.http import Reply, Request, new_id
from headgate.local.throttle import Buckets
from tests.gate.driver import driven
from tests.local.store import Store


@dataclass
class Desk:
    """An app's gate; `asked` holds the kinds of effects that the last request asked for, in order."""

    app: App
    store: Store
    settings: Mapping[str, str] = field(default_factory=dict)
    asked: list[type[Effect]] = field(default_factory=list)
    backlog: int = 0

    def __post_init__(self) -> None:
        self.observer = Observer()
        self._buckets = Buckets(self.store.clock)
        self._gate = Gate(self.app, self.settings, self.store.clock, self.observer, new_id)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """One request; `who="ann"` stands for a header."""
        self.asked.clear()
        path, _, query = target.partition("?")
        sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        request = Request(method, path, query, sent, "request-1", self.store.clock.now_ms())
        return driven(self._gate.answer(request), lambda effect: self._carried_out(effect, body))

    def post(self, path: str, message: object, **headers: str) -> Reply:
        """Post JSON."""
        return self.ask("POST", path, json.dumps(message).encode(), **headers)

    def _carried_out(self, effect: Effect, body: bytes) -> Any:
        self.asked.append(type(effect))
        match effect:
            case Admit(channel, throttle):
                return self._buckets.take(channel, throttle)
            case Backlog():
                return self.backlog
            case ReadBody(limit_bytes):
                return body if len(body) <= limit_bytes else None
            case Commit(messages, whole):
                return self.store.index.commit(messages, whole=whole)
            case Get():
                return self.store.index.get(*effect)
            case Find():
                return self.store.index.find(*effect)
            case Call(verifier, request):
                return verifier(request)
        raise AssertionError(f"no test here needs {effect}")


def told(reply: Reply) -> Any:
    """What a reply's body says."""
    return json.loads(reply.encoded())


def header(reply: Reply, name: str) -> str | None:
    """The value of a reply's header."""
    return dict(reply.headers).get(name)
