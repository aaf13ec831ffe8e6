"""headgate messages"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from headgate.clock import SystemClock
from headgate.engine import Outcome
from headgate.local.engine import LocalEngine
from headgate.local.state import StateFolder
from headgate.message import Message
from tests.cli.shell import APP, SECRETS, drawn, run, running, until


def store(desk: Path, *messages: Message) -> list[Outcome]:
    """Store messages as a server would, with no server."""
    state = StateFolder(desk / ".headgate")
    state.hold()
    try:
        engine = LocalEngine(state.store, ["notes", "keyed", "orders", "gone"], SystemClock())
        try:
            return engine.index.commit(messages)
        finally:
            engine.close()
    finally:
        state.release()


def message(key: str, body: str = "{}", channel: str = "notes", scope: str = "", topic: str = "") -> Message:
    fields = (("topic", topic),) if topic else ()
    return Message(
        channel, scope, key, body.encode(), SystemClock().now_ms(), scope, "r-1", "", "processed", None, fields
    )


def keys(out: str) -> list[str]:
    return [item["key"] for item in json.loads(out)["items"]]


def test_messages_are_listed_shown_and_deleted_beside_a_running_server(desk: Path) -> None:
    body = '{"id": "n-1",  "topic": "☂", "amount": 2.10}'
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", body).status == 201
        assert server.post("/notes", '{"id": "n-2", "topic": "tea"}').status == 201

        header, newest, oldest = run(desk, "messages", "list", "notes").out.splitlines()
        assert header.split() == ["CHANNEL", "KEY", "STATUS", "RECEIVED", "BYTES", "PRINCIPAL"]
        assert newest.split()[:3] == ["notes", "n-2", "processed"]
        assert oldest.split()[1] == "n-1"
        assert keys(run(desk, "messages", "list", "notes", "--where", "topic=☂", "--json").out) == ["n-1"]

        assert "traceparent" not in run(desk, "messages", "show", "notes", "n-1").err

        shown = run(desk, "messages", "show", "notes", "n-1")
        assert shown.out == body
        assert "key: n-1\n" in shown.err

        refused = run(desk, "messages", "delete", "notes", "n-1")
        assert (refused.code, refused.err) == (2, "There is nobody to ask; say --yes.\n")
        assert run(desk, "messages", "delete", "notes", "n-1", "--yes").code == 0
        assert keys(run(desk, "messages", "list", "--json").out) == ["n-2"]
        assert server.post("/notes", '{"id": "n-1", "topic": "new"}').status == 201


def test_the_trace_that_a_message_came_with_is_shown(desk: Path) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    store(desk, message("traced")._replace(traceparent=trace))
    assert f"traceparent: {trace}\n" in run(desk, "messages", "show", "notes", "traced").err
    assert json.loads(run(desk, "messages", "show", "notes", "traced", "--json").out)["traceparent"] == trace


def test_until_when_a_message_waits_is_shown(desk: Path) -> None:
    later = """
from headgate import Queued, Retry

@app.channel("/jobs", key="id", auth=Public(), delivery=Queued())
def work(job):
    raise Retry(3600)
"""
    (desk / "app.py").write_text(APP + later)
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/jobs", '{"id": "1"}').status == 202
        until(lambda: "retried" in run(desk, "messages", "show", "jobs", "1").err, "it was tried")
        shown = run(desk, "messages", "show", "jobs", "1")
        told = json.loads(run(desk, "messages", "show", "jobs", "1", "--json").out)
    assert "\nnext_attempt_at: " in shown.err
    (tried,) = [moment["at"] for moment in told["timeline"] if moment["what"] == "retried"]
    waits = datetime.fromisoformat(told["next_attempt_at"]) - datetime.fromisoformat(tried)
    assert timedelta(minutes=50) < waits < timedelta(minutes=70)


def test_the_same_without_a_server(desk: Path) -> None:
    store(desk, message("a", '{"id":"a"}', topic="x"), message("b"), message("c", channel="gone"))
    assert keys(run(desk, "messages", "list", "--json").out) == ["c", "b", "a"]
    assert keys(run(desk, "messages", "list", "/notes", "--json").out) == ["b", "a"]
    assert run(desk, "messages", "show", "notes", "a").out == '{"id":"a"}'
    assert run(desk, "messages", "delete", "notes", "a", "--yes").code == 0
    gone = run(desk, "messages", "show", "notes", "a")
    assert (gone.code, gone.out, gone.err) == (1, "", "There is no message a in /notes.\n")
    assert keys(run(desk, "messages", "list", "notes", "--where", "topic=x", "--json").out) == []


def test_pages_follow_one_another(desk: Path) -> None:
    store(desk, *(message(f"n-{number}") for number in range(5)))
    seen: list[str] = []
    cursor: list[str] = []
    for _ in range(3):
        page = run(desk, "messages", "list", "notes", "--limit", "2", "--json", *cursor).out
        seen += keys(page)
        cursor = ["--cursor", str(json.loads(page)["cursor"])]
    assert seen == ["n-4", "n-3", "n-2", "n-1", "n-0"]
    assert json.loads(page)["cursor"] is None
    assert "There is more: add --cursor " in run(desk, "messages", "list", "--limit", "2").err
    assert run(desk, "messages", "list", "--cursor", "x").err == "--cursor is not one that a list gave.\n"


def test_numbers_come_out_as_they_went_in(desk: Path) -> None:
    body = '{"a": 2.10, "b": 12345678901234567890, "c": "\\u001b[2J é", "d": true, "e": "\x7f\u009b"}'
    store(desk, message("n", body))
    out = run(desk, "messages", "show", "notes", "n", "--json").out
    assert '"a": 2.10, "b": 12345678901234567890' in out
    assert json.loads(out)["body"] == json.loads(body)
    assert out.isascii()
    assert "\x7f" not in out


def test_nothing_that_was_sent_can_command_the_terminal(desk: Path) -> None:
    """A key with control characters is refused at the gate; the store may be older than the rule."""
    store(desk, message("k\x1b]0;owned\x07", '{"a": "\u009b2J\u202e"}'))
    listed = run(desk, "messages", "list").out
    assert "k\\x1b]0;owned\\x07" in listed
    shown = drawn(desk, "messages", "show", "notes", "k\x1b]0;owned\x07")
    assert '{"a": "\\x9b2J\\u202e"}' in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_of_several_senders_with_one_key_it_asks_whose(desk: Path) -> None:
    store(desk, message("k", '"of ann"', "keyed", "ann"), message("k", '"of bob"', "keyed", "bob"))
    asked = run(desk, "messages", "show", "keyed", "k")
    assert (asked.code, asked.out) == (2, "")
    assert asked.err == "Several senders used the key k: ann, bob. Say whose with --scope.\n"
    assert run(desk, "messages", "delete", "keyed", "k", "--yes").code == 2
    assert run(desk, "messages", "delete", "keyed", "k", "--scope", "ann", "--yes").code == 0
    assert run(desk, "messages", "show", "keyed", "k").out == '"of bob"'


def test_only_declared_indexes_are_asked(desk: Path) -> None:
    store(desk, message("a"))
    assert run(desk, "messages", "list", "notes", "--where", "colour=red").err == (
        "colour is not an index of /notes; declared with `indexes=`: topic.\n"
    )
    assert run(desk, "messages", "list", "keyed", "--where", "x=1").err.endswith("declared with `indexes=`: none.\n")
    assert run(desk, "messages", "list", "notes", "--where", "topic").err == "--where topic: say FIELD=VALUE.\n"
    assert run(desk, "messages", "list", "--where", "topic=x").err == (
        "Say which channel: indexes are declared per channel.\n"
    )


def test_before_anything_was_stored_it_says_so(desk: Path) -> None:
    done = run(desk, "messages", "list")
    assert done.code == 2
    assert done.err.startswith("Nothing was stored yet")
    assert not (desk / ".headgate").exists()
