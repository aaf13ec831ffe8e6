"""Topics on one machine: the cases of every engine, and webhooks as their receivers see them."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headgate import App, Email, Webhook
from headgate.clock import ManualClock
from headgate.errors import DeclarationError
from headgate.local import topics
from headgate.local.topics import LocalTopics
from headgate.testing.contract.topics import NOTICE, TOPIC, TopicsCases
from tests.local.store import Store, opened
from tests.serving import PATIENCE_S

KEY = b"a key that nobody else has......"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """A webhook on a port of its own."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Engine:
    """A store with a topic of two webhooks, delivered by hand; it is its own subscribers."""

    def __init__(self, folder: Path, receivers: list[Receiver], clock: ManualClock | None = None) -> None:
        app = App("shop")
        app.topic(TOPIC, *(Webhook(receiver.url, SECRET) for receiver in receivers), Email("ops@example.com"))
        self.receivers = receivers
        self.clock = clock or ManualClock()
        self.store = Store(folder, self.clock)
        self.topics = LocalTopics(app.topics, {}, self.clock, self.store.writer.change, self.store.index.read_with)

    @property
    def subscribers(self) -> Engine:
        return self

    @property
    def up(self) -> bool:
        return self.receivers[0].status == 200

    def set_up(self, up: bool) -> None:
        for receiver in self.receivers:
            receiver.status = 200 if up else 503

    def settle(self) -> None:
        for _ in range(5):
            self.clock.advance(self.topics.deliver() or 0)

    def received(self) -> list[list[Any]]:
        kept = ("subject", "text", "attributes")
        return [
            [{name: json.loads(body)["data"][name] for name in kept} for _, body in receiver.taken]
            for receiver in self.receivers
        ]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_TIMEOUT_S", PATIENCE_S)


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    receivers = [Receiver(), Receiver()]
    yield receivers
    for receiver in receivers:
        receiver.close()


@pytest.fixture
def engine(tmp_path: Path, receivers: list[Receiver]) -> Iterator[Engine]:
    engine = Engine(tmp_path, receivers)
    yield engine
    engine.store.close()


class TestTopics(TopicsCases):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


def test_a_webhook_can_be_verified_as_standard_webhooks_say(engine: Engine) -> None:
    id_ = engine.topics.publish(TOPIC, NOTICE)
    engine.topics.deliver()
    headers, body = engine.receivers[0].taken[0]
    assert headers["webhook-id"] == id_
    assert int(headers["webhook-timestamp"]) == engine.clock.now_ms() // 1000
    mac = hmac.digest(KEY, f"{id_}.{headers['webhook-timestamp']}.".encode() + body, "sha256")
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"


def test_a_webhook_that_never_answers_does_not_hold_up_the_end_and_is_told_again(tmp_path: Path) -> None:
    app = App("shop")
    with socket.create_server(("127.0.0.1", 0)) as silent, opened(tmp_path, ManualClock()) as store:
        app.topic(TOPIC, Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", SECRET))
        told = LocalTopics(app.topics, {}, store.clock, store.writer.change, store.index.read_with, patience_s=0.001)
        told.start()
        told.publish(TOPIC, NOTICE)
        asking, _ = silent.accept()
        with asking:
            told.close()
            assert store.rows("notice") == 1


def test_one_that_took_it_is_not_told_again_while_the_other_is_down(engine: Engine) -> None:
    engine.receivers[1].status = 500
    engine.topics.publish(TOPIC, NOTICE)
    engine.settle()
    assert [len(receiver.taken) for receiver in engine.receivers] == [1, 0]


def test_what_was_not_delivered_outlives_the_process(tmp_path: Path, receivers: list[Receiver]) -> None:
    (tmp_path / "one").mkdir()
    before = Engine(tmp_path / "one", receivers)
    before.topics.publish(TOPIC, NOTICE)
    before.store.close()
    after = Engine(tmp_path / "one", receivers)
    after.clock.advance(1)
    after.settle()
    after.store.close()
    assert [len(receiver.taken) for receiver in receivers] == [1, 1]


JUMPS_S = (3_600, -3_600, 86_400, -86_400)


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_wall_clock_that_jumps_neither_holds_up_a_notice_nor_gives_it_up(engine: Engine, jump_s: float) -> None:
    engine.set_up(False)
    engine.topics.publish(TOPIC, NOTICE)
    assert engine.topics.deliver() == 5
    engine.clock.jump(jump_s)
    engine.clock.advance(5)
    assert engine.topics.deliver() == 10
    engine.set_up(True)
    engine.clock.advance(10)
    assert engine.topics.deliver() is None
    assert [len(receiver.taken) for receiver in engine.receivers] == [1, 1]


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_wall_clock_that_jumped_while_nothing_ran_holds_up_no_notice(
    tmp_path: Path, receivers: list[Receiver], jump_s: float
) -> None:
    (tmp_path / "one").mkdir()
    before = Engine(tmp_path / "one", receivers)
    before.set_up(False)
    before.topics.publish(TOPIC, NOTICE)
    before.settle()
    before.store.close()
    again = Engine(tmp_path / "one", receivers, ManualClock(before.clock.now_ms() + round(1000 * jump_s)))
    again.set_up(True)
    again.clock.advance(600)
    again.settle()
    again.store.close()
    assert [len(receiver.taken) for receiver in receivers] == [1, 1]


def test_after_a_day_it_is_given_up_and_said_so(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.set_up(False)
    engine.topics.publish(TOPIC, NOTICE)
    tries = 0
    while (wait_s := engine.topics.deliver()) is not None:
        engine.clock.advance(wait_s)
        tries += 1
    assert 25 < tries < 45
    assert sum("is given up" in record.message for record in caplog.records) == 2
    assert not any(SECRET in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("subscriber", "told"),
    [
        (Webhook("http://example.com", SECRET), "must start with https://"),
        (Webhook("https://me@example.com", SECRET), "has a user name"),
        (Webhook("https://example.com", ""), "a secret that is not empty"),
        (Email("ops"), "is not an address"),
        ("https://example.com", "a subscriber is a Webhook"),
    ],
)
def test_a_subscriber_that_cannot_be_told_is_refused_at_load(subscriber: Any, told: str) -> None:
    app = App("shop")
    app.topic("alerts", subscriber)
    app.topic("alerts")
    with pytest.raises(DeclarationError) as refused:
        app.check()
    sentences = [fault.sentence for fault in refused.value.faults]
    assert any(told in sentence for sentence in sentences)
    assert any("the name is taken" in sentence for sentence in sentences)


def test_a_subject_writes_nothing_into_the_log_that_a_terminal_obeys(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.topics.publish(TOPIC, NOTICE._replace(subject="\x9b2J\u202e\n2026 all is well"))
    assert caplog.records[-1].getMessage().endswith('"\\u009b2J\\u202e\\n2026 all is well"')
