"""Topics on one machine: every notice is a row, a line of the log, and a signed post to each webhook."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from headgate import http
from headgate.clock import Clock, SteadyTime, isoformat
from headgate.declare.auth import url_fault
from headgate.declare.topic import Topic, Webhook
from headgate.engine import Notice, Topics
from headgate.errors import Misuse, Unavailable
from headgate.gate.credentials import resolved
from headgate.gate.observe import site
from headgate.gate.signed import signing_key
from headgate.issuers import AnyAnswer
from headgate.local.writer import Change

log = logging.getLogger("headgate.notices")

SCHEMA = """CREATE TABLE notice (
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    target INTEGER NOT NULL,
    content TEXT NOT NULL,
    published_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    PRIMARY KEY (id, target)
) WITHOUT ROWID"""

_INSERT = "INSERT INTO notice VALUES (?,?,?,?,?,?,?)"
_TIMEOUT_S = 10
_FIRST_WAIT_S = 5
_LONGEST_WAIT_S = 3_600
_GIVEN_UP_S = 86_400
_AT_ONCE = 20


class Target(NamedTuple):
    """A webhook with its settings looked up."""

    url: str
    key: bytes


class LocalTopics(Topics):
    """Publishes at once and delivers from a thread of its own, `deliver` in a test.

    `change` carries out one durable change; `read_with` a query. Undelivered notices outlive the process.
    """

    def __init__(
        self,
        topics: Sequence[Topic],
        settings: Mapping[str, str],
        clock: Clock,
        change: Callable[[Change], Any],
        read_with: Callable[[Callable[[sqlite3.Connection], Any]], Any],
        *,
        patience_s: float = _TIMEOUT_S,
    ) -> None:
        self._patience_s = patience_s
        self._targets = {topic.name: targets(topic, settings) for topic in topics}
        self._clock = clock
        self._time = SteadyTime(clock, clock.now_ms())  # by which notices are due: a wall clock that jumps loses none
        self._change = change
        self._read_with = read_with
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def publish(self, topic: str, notice: Notice) -> str:
        id_, rows = self._rows(topic, notice)
        if rows:
            self._change(lambda store: store.executemany(_INSERT, rows))
        self._published(topic, id_, notice)
        return id_

    def publish_all(self, topics: Sequence[str], notice: Notice, also: Change) -> None:
        """`publish` to several topics, and something else, by one durable write."""
        made = {topic: self._rows(topic, notice) for topic in topics}
        rows = [row for _, some in made.values() for row in some]

        def publish(store: sqlite3.Connection) -> None:
            store.executemany(_INSERT, rows)
            also(store)

        self._change(publish)
        for topic, (id_, _) in made.items():
            self._published(topic, id_, notice)

    def _rows(self, topic: str, notice: Notice) -> tuple[str, list[tuple[object, ...]]]:
        """The id of a notice, and a row for each webhook."""
        id_ = f"msg_{http.new_id()}"
        now_ms = self._clock.now_ms()
        content = json.dumps(
            {
                "type": "headgate.notice",
                "timestamp": isoformat(now_ms),
                "data": {"id": id_, "topic": topic, **notice._asdict(), "attributes": dict(notice.attributes)},
            },
            ensure_ascii=False,
        )
        due_ms = self._time.now_ms()
        return id_, [(id_, topic, at, content, due_ms, 0, due_ms) for at in range(len(self._targets[topic]))]

    def _published(self, topic: str, id_: str, notice: Notice) -> None:
        log.warning("notice topic=%s id=%s %s", topic, id_, json.dumps(notice.subject))
        self._wake.set()

    def start(self) -> None:
        """Deliver from now on, what an earlier process left over too."""
        self._thread = threading.Thread(target=self._run, name="headgate-notices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after what is being sent; what is left over is sent by the next process, and what is being sent too
        where a webhook answers so slowly that it would hold up the end."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(self._patience_s)

    def deliver(self) -> float | None:
        """Send what is due; in how many seconds more will be, or None where nothing waits."""
        for row in self._read_with(_due(self._time.now_ms())):
            if self._closing:
                break
            self._send(*row)
        (next_ms,) = self._read_with(lambda reader: reader.execute("SELECT min(due_ms) FROM notice").fetchone())
        return None if next_ms is None else min(max(0.0, (next_ms - self._time.now_ms()) / 1000), _LONGEST_WAIT_S)

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            try:
                wait_s = self.deliver()
            except Unavailable:
                wait_s = _FIRST_WAIT_S
            except Exception as error:  # noqa: BLE001 - the thread must live
                log.error("notices could not be delivered where=%s", site(error))
                wait_s = _FIRST_WAIT_S
            self._wake.wait(wait_s)

    def _send(self, id_: str, topic: str, target: int, content: str, published_ms: int, tries: int) -> None:
        where = (id_, target)
        found = self._targets.get(topic, [])
        declared = target < len(found)
        told = self._post(found[target], id_, content) if declared else "its webhook is not declared any more"
        now_ms = self._time.now_ms()
        if told is not None and declared and now_ms - published_ms < _GIVEN_UP_S * 1000:
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**tries)
            log.info("a notice was not taken (%s), again in %d s id=%s", told, wait_s, id_)
            self._change(
                lambda connection: connection.execute(
                    "UPDATE notice SET tries = ?, due_ms = ? WHERE id = ? AND target = ?",
                    (tries + 1, now_ms + wait_s * 1000, *where),
                )
            )
            return
        if told is not None:
            log.error("a notice was never taken (%s) and is given up topic=%s id=%s", told, topic, id_)
        self._change(lambda connection: connection.execute("DELETE FROM notice WHERE id = ? AND target = ?", where))

    def _post(self, target: Target, id_: str, content: str) -> str | None:
        """None where it was taken, else why not, in words that hold nothing secret."""
        body = content.encode()
        seconds = str(self._clock.now_ms() // 1000)
        mac = hmac.digest(target.key, f"{id_}.{seconds}.".encode() + body, "sha256")
        request = Request(  # noqa: S310 - the scheme was checked
            target.url,
            data=body,
            headers={
                "Content-Type": "application/json",
                "webhook-id": id_,
                "webhook-timestamp": seconds,
                "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
            },
        )
        proxies = [ProxyHandler({})] if urlsplit(target.url).scheme == "http" else []
        try:
            with build_opener(AnyAnswer, *proxies).open(request, timeout=_TIMEOUT_S) as response:
                return None if 200 <= response.status < 300 else f"answered {response.status}"
        except (OSError, HTTPException, ValueError) as error:
            return type(error).__name__


def targets(topic: Topic, settings: Mapping[str, str]) -> list[Target]:
    """The webhooks of a topic, with their settings. Raises Misuse for one that cannot work."""
    found = []
    for subscriber in topic.subscribers:
        if isinstance(subscriber, Webhook):
            owner = f"Topic {topic.name}"
            url = resolved(subscriber.url, settings, owner)
            if fault := url_fault(url):
                raise Misuse(f"{owner}: a webhook's url {fault}")
            found.append(Target(url, signing_key(resolved(subscriber.secret, settings, owner), "standard", owner)))
    return found


def _due(now_ms: int) -> Callable[[sqlite3.Connection], list[tuple[str, str, int, str, int, int]]]:
    """Those too that wait for longer than any does: an earlier process wrote them by a clock that was ahead."""
    return lambda reader: reader.execute(
        "SELECT id, topic, target, content, published_ms, tries FROM notice"
        f" WHERE due_ms <= ? OR due_ms > ? ORDER BY due_ms LIMIT {_AT_ONCE}",
        (now_ms, now_ms + _LONGEST_WAIT_S * 1000),
    ).fetchall()
