"""headgate dead: what went wrong is found, repaired and worked off again, beside a running server and without one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Done, Server, run, running, until
from tests.serving import ask

APP = """\
import os
from pathlib import Path

from pydantic import BaseModel

from headgate import App, Permanent, Public, Queued, RetryPolicy


class Order(BaseModel):
    id: str
    amount: int
    customer: str = ""


app = App("desk")
AT_ONCE = RetryPolicy(first_s=0.01, most_s=0.01)


@app.channel("/orders", Order, key="id", indexes=["customer"], auth=Public(), read=True,
             delivery=Queued(attempts=2, backoff=AT_ONCE))
def fulfil(order):
    if order.amount < 0:
        raise Permanent("negative amount")
    if order.amount == 13 and not Path("mended").exists():
        raise OSError("the secret is 4711")


app.channel("/unread", Order, key="id", auth=Public(), read=True, delivery=Queued(validate="worker"))
app.channel("/direct", Order, key="id", auth=Public(), read=True)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture(scope="module")
def shop_with_a_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with one dead letter and one good message."""
    shop = tmp_path_factory.mktemp("shop")
    (shop / "app.py").write_text(APP)
    with running(shop, "serve") as server:
        send(server, "neg", -1)
        send(server, "fine", 1)
        ends(server, "neg", "fine")
    return shop


def send(server: Server, id_: str, amount: object, channel: str = "/orders") -> str:
    answer = server.post(channel, json.dumps({"id": id_, "amount": amount}))
    assert answer.status == 202
    return str(answer.json()["id"])


def got(server: Server, path: str) -> str:
    return ask(server.port, "GET", path).body.decode()


def status(server: Server, key: str, channel: str = "/orders") -> Any:
    return json.loads(got(server, f"{channel}/{key}")).get("status")


def ends(server: Server, *keys: str, channel: str = "/orders") -> None:
    """Wait until messages are settled."""
    for key in keys:
        until(lambda key=key: status(server, key, channel) not in ("accepted", "processing"), f"{key} is settled")  # type: ignore[misc]


def groups(done: Done) -> dict[tuple[str, str, str], int]:
    return {(g["channel"], g["kind"], g["field"]): g["count"] for g in json.loads(done.out)["groups"]}


def test_dead_letters_are_grouped_shown_edited_and_redriven_beside_a_server(shop: Path) -> None:
    with running(shop, "serve") as server:
        for n in range(3):
            send(server, f"neg{n}", -1)
        send(server, "io", 13)
        send(server, "fine", 1)
        bad = send(server, "u", "much", channel="/unread")
        ends(server, "neg0", "neg1", "neg2", "io", "fine")
        ends(server, bad, channel="/unread")

        found = groups(run(shop, "dead", "list", "--json"))
        assert found == {
            ("orders", "Permanent", ""): 3,
            ("orders", "OSError", ""): 1,
            ("unread", "int_type", "/amount"): 1,
        }
        table = run(shop, "dead", "list", "orders").out.splitlines()
        assert table[0].split() == ["CHANNEL", "KIND", "FIELD", "COUNT", "FIRST", "LAST", "SAMPLE", "ERROR"]
        assert table[1].split()[:4] == ["orders", "Permanent", "-", "3"]
        assert table[1].endswith("negative amount")

        letters = json.loads(run(shop, "dead", "list", "orders", "--kind", "Permanent", "--json").out)["items"]
        assert {one["key"] for one in letters} == {"neg0", "neg1", "neg2"}
        assert {(one["status"], one["attempts"], one["error"]) for one in letters} == {("failed", 1, "negative amount")}
        every = [line.split() for line in run(shop, "dead", "list", "--all").out.splitlines()]
        assert every[0] == ["CHANNEL", "KEY", "SCOPE", "STATUS", "KIND", "FIELD", "ATTEMPTS", "ENDED", "ERROR"]
        assert sorted(line[:7] for line in every[1:]) == [
            ["orders", "io", "-", "failed", "OSError", "-", "2"],
            *(["orders", f"neg{n}", "-", "failed", "Permanent", "-", "1"] for n in range(3)),
            ["unread", bad, "-", "rejected", "int_type", "/amount", "1"],
        ]
        assert run(shop, "dead", "list", "--field", "/id").err == "There is no such dead letter.\n"

        shown = run(shop, "dead", "show", "orders", "io")
        assert shown.out == '{"id": "io", "amount": 13}'
        assert shown.err.count("OSError: the secret is 4711") == 2
        assert "retried (attempt 1)" in shown.err
        assert "failed (attempt 2)" in shown.err
        assert "4711" not in got(server, "/orders/io") + got(server, "/orders/io/timeline")

        (shop / "mended").touch()
        assert run(shop, "dead", "redrive", "orders", "io").err == "1 redriven.\n"
        ends(server, "io")
        assert status(server, "io") == "processed"
        told = json.loads(got(server, "/orders/io/timeline"))
        whats = [item["what"] for item in told["items"]]
        assert whats == ["accepted", "retried", "failed", "redriven", "processed"]
        assert set(told["items"][1]) == {"at", "what", "attempt", "took_ms", "detail"}

        edited = run(shop, "dead", "edit", "orders", "neg0", "--body", "-", typed='{"id":"neg0","amount":2}')
        assert (edited.code, edited.err) == (0, "1 edited.\n")
        assert 'original: {"id": "neg0", "amount": -1}' in run(shop, "dead", "show", "orders", "neg0").err
        assert run(shop, "dead", "redrive", "orders", "neg0").code == 0
        ends(server, "neg0")
        assert json.loads(got(server, "/orders/neg0"))["body"] == {"id": "neg0", "amount": 2}

        gone = run(shop, "dead", "discard", "orders", "neg1", "--reason", "a test order", "--yes")
        assert gone.err == "1 discarded.\n"
        assert status(server, "neg1") == "discarded"
        assert "a test order" in run(shop, "messages", "show", "orders", "neg1").err
        assert groups(run(shop, "dead", "list", "orders", "--json")) == {("orders", "Permanent", ""): 1}

        fixed = run(shop, "dead", "edit", "unread", bad, "--body", "-", typed='{"id":"u","amount":5}')
        assert fixed.err == "1 edited.\n"
        assert run(shop, "dead", "redrive", "unread", bad).code == 0
        until(lambda: status(server, "u", "/unread") == "processed", "the edited one is processed")


def test_a_rehearsal_changes_nothing_and_says_why_not(shop: Path) -> None:
    with running(shop, "serve") as server:
        for n in range(3):
            send(server, f"n{n}", -1)
        ends(server, "n0", "n1", "n2")
    (shop / "app.py").write_text(
        APP.replace("amount: int", "amount: int = Field(ge=0)").replace("BaseModel\n", "BaseModel, Field\n", 1)
    )
    told = run(shop, "dead", "redrive", "orders", "--all", "--dry-run").out.splitlines()
    assert told == [
        "0 of 3 dead letters would pass the gate as they are.",
        "3 would not: /amount: Input should be greater than or equal to 0",
    ]
    assert groups(run(shop, "dead", "list", "--json")) == {("orders", "Permanent", ""): 3}


def test_all_that_fit_are_redriven_with_no_server_and_worked_off_when_there_is_one(shop: Path) -> None:
    with running(shop, "serve") as server:
        keys = [f"io{n}" for n in range(25)]
        for key in keys:
            send(server, key, 13)
        send(server, "neg", -1)
        ends(server, *keys, "neg")
    assert run(shop, "dead", "redrive", "orders", "--kind", "OSError").err == "There is nobody to ask; say --yes.\n"
    done = run(shop, "dead", "redrive", "orders", "--kind", "OSError", "--rate", "100", "--yes")
    assert done.err == "25 redriven.\n"
    again = run(shop, "dead", "redrive", "orders", "--kind", "OSError", "--yes")
    assert (again.code, again.err) == (1, "There is no such dead letter.\n")
    (shop / "mended").touch()
    with running(shop, "serve") as server:
        ends(server, *keys)
        assert {status(server, key) for key in keys} == {"processed"}
        assert status(server, "neg") == "failed"


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [
        (("redrive", "orders"), "", "Say a KEY; or --all, --kind, --field or --status for all that fit."),
        (("redrive", "orders", "neg", "--all"), "", "Say a KEY; or --all"),
        (("redrive", "orders", "fine"), "", "fine is no dead letter: it is processed."),
        (("redrive", "orders", "none"), "", "There is no message none in /orders."),
        (("redrive", "direct", "--all", "--yes"), "", "There is no such dead letter."),
        (("redrive", "orders", "--kind", "permanent", "--dry-run"), "", "There is no such dead letter."),
        (("edit", "orders", "neg", "--body", "-"), '{"id":"neg"}', "/amount: Field required"),
        (("edit", "orders", "neg", "--body", "-"), '{"id":"other","amount":1}', "/id: The key has to stay neg"),
        (("edit", "orders", "neg", "--body", "-"), "{", "The body is not valid JSON"),
        (("edit", "orders", "neg", "--body", "-"), '{"id": "neg", "amount": -1}', "Nothing was changed."),
        (("discard", "orders", "neg"), "", "Missing option '--reason'"),
    ],
)
def test_what_cannot_be_done_is_told(shop_with_a_history: Path, words: Any, typed: str, told: str) -> None:
    done = run(shop_with_a_history, "dead", *words, typed=typed)
    assert done.code in (1, 2)
    assert told in done.err


def test_a_body_that_is_no_json_is_refused_in_one_sentence(shop_with_a_history: Path) -> None:
    done = run(shop_with_a_history, "dead", "edit", "orders", "neg", "--body", "-", typed="{")
    assert (done.code, done.err) == (2, "The body is not valid JSON at line 1, column 1.\n")


def test_the_editor_is_the_one_of_the_environment(shop: Path) -> None:
    with running(shop, "serve") as server:
        send(server, "neg", -1)
        ends(server, "neg")
        editor = shop / "editor"
        editor.write_text("#!/bin/sh\nsed -i 's/-1/7/' \"$1\"\n")
        editor.chmod(0o700)
        assert run(shop, "dead", "edit", "orders", "neg", env={"EDITOR": str(editor)}).err == "1 edited.\n"
        assert run(shop, "dead", "show", "orders", "neg").out == '{"id": "neg", "amount": 7}'
        show = json.loads(run(shop, "messages", "show", "orders", "neg", "--json").out)
        assert [moment["what"] for moment in show["timeline"]] == ["accepted", "failed", "edited"]
        assert re.fullmatch("by .+", show["timeline"][-1]["told"])
