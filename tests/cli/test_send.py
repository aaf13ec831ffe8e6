"""`headgate send`: one message, or many that are made up."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate.clock import SystemClock
from headgate.local.engine import open_index
from headgate.local.schema import FILE_NAME
from tests.cli.shell import Server, run, running, until
from tests.local.store import all_keys
from tests.serving import PATIENCE_S, free_port, headgate, kill, start

APP = """\
from pydantic import BaseModel, Field

from headgate import ApiKey, App, Header, Jwt, Public, Secret, Signed, Throttle


class Note(BaseModel):
    id: str
    text: str = Field(max_length=50)
    amount: float


def nobody(request):
    raise RuntimeError("no")


jwt = Jwt(secret=Secret("TEST_JWT"), issuer="us", audience="you", scopes=("write",))
app = App("desk")
app.channel("/notes", Note, key="id", auth=Public())
app.channel("/any", auth=ApiKey())
app.channel("/hook", key=Header("webhook-id"), auth=Signed(Secret("TEST_HOOK")))
app.channel("/each", Note, key="id", many=True, auth=jwt)
app.channel("/all", Note, key="id", many="all", auth=jwt)
app.channel("/slow", auth=Public(), throttle=Throttle(rate_per_s=1, burst=1))
app.channel("/broken", auth=nobody)
app.channel("/elsewhere", auth=Jwt(jwks_url="https://issuer.example/keys", issuer="a", audience="b"))
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(scope="module")
def served(desk: Path) -> Iterator[Server]:
    with running(desk, "dev", "--no-reload") as server:
        yield server


def summary(desk: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = run(desk, "send", *words, "--json")
    assert done.code == code, done.err
    told: dict[str, Any] = json.loads(done.out)
    return told


def stored(desk: Path, channel: str) -> list[str]:
    """The keys that are in the store of a desk."""
    with closing(open_index(desk / ".headgate" / FILE_NAME, SystemClock())) as index:
        return list(all_keys(index, channel))


def test_one_message_is_sent_and_its_reply_printed(desk: Path, served: Server) -> None:
    body = '{"id": "one", "text": "hello", "amount": 2.10}'
    first = run(desk, "send", "notes", body)
    assert (first.code, first.out, first.err) == (0, '{"id":"one"}\n', "201 Created\n")
    again = json.loads(run(desk, "send", "/notes", "-", "--json", typed=body).out)
    assert (again["status"], again["body"], again["headers"]["idempotency-replayed"]) == (201, {"id": "one"}, "true")
    (desk / "other.json").write_text(body.replace("2.10", "2.1"))
    refused = run(desk, "send", "notes", "@other.json")
    assert (refused.code, refused.err) == (3, "409 Conflict\n")
    assert json.loads(refused.out)["type"] == "urn:headgate:problem:conflict"


@pytest.mark.parametrize(
    ("channel", "body"), [("any", "1"), ("hook", '{"é":1}'), ("each", '[{"id":"1","text":"","amount":1}]')]
)
def test_credentials_are_filled_in(desk: Path, served: Server, channel: str, body: str) -> None:
    assert run(desk, "send", channel, body).code == 0


def test_credentials_that_are_said_go_first(desk: Path, served: Server) -> None:
    for channel in ("any", "each", "elsewhere"):
        done = run(desk, "send", channel, "1", "-H", "Authorization: Bearer nonsense")
        assert (done.code, done.err) == (3, "401 Unauthorized\n")


def test_a_header_that_is_the_key_may_be_said(desk: Path, served: Server) -> None:
    for _ in range(2):
        assert json.loads(run(desk, "send", "hook", "1", "-H", "Webhook-Id: mine").out) == {"id": "mine"}
        assert json.loads(run(desk, "send", "any", "1", "-H", "Idempotency-Key: mine").out) == {"id": "mine"}


@pytest.mark.parametrize("words", ["notes", "any", "hook", "each", "all --batch 20"])
def test_what_is_made_up_is_taken_and_what_is_bad_refused(desk: Path, served: Server, words: str) -> None:
    channel, *more = words.split()
    before = len(stored(desk, channel))
    told = summary(desk, channel, "-n", "300", "--bad", "0.3", "--seed", "1", *more)
    assert told["unexpected"] == 0
    assert told["messages"] == 300
    assert told["outcomes"].keys() == {"stored", "refused"}
    assert len(stored(desk, channel)) == before + told["outcomes"]["stored"]
    assert told["latency_ms"]["p50"] <= told["latency_ms"]["p99"] <= told["latency_ms"]["max"]
    again = summary(desk, channel, "-n", "300", "--bad", "0.3", "--seed", "1", *more)
    assert again["outcomes"] == {"replayed": told["outcomes"]["stored"], "refused": told["outcomes"]["refused"]}


@pytest.mark.parametrize(("number", "bad", "refused"), [("20", "0.2", 4), ("20", "0.75", 15), ("3", "0.1", 1)])
def test_where_all_or_none_are_stored_both_good_and_bad_batches_come(
    desk: Path, served: Server, number: str, bad: str, refused: int
) -> None:
    told = summary(desk, "all", "-n", number, "--bad", bad)
    assert told["outcomes"] == {"stored": int(number) - refused, "refused": refused}


def test_one_batch_holds_good_and_bad_where_each_is_stored_for_itself(desk: Path, served: Server) -> None:
    told = summary(desk, "each", "-n", "200", "--batch", "200", "--bad", "0.5", "--seed", "2")
    assert told["statuses"] == {"201": 1}
    assert 60 < told["outcomes"]["refused"] < 140


def test_a_single_message_is_bad_by_chance_also_where_all_or_none_are_stored(desk: Path, served: Server) -> None:
    one = ("all", "-n", "1", "--bad", "0.5", "--seed")
    outcomes = [summary(desk, *one, str(seed))["outcomes"] for seed in range(20, 24)]
    assert {"stored": 1} in outcomes
    assert {"refused": 1} in outcomes


def test_without_a_seed_every_run_is_another(desk: Path, served: Server) -> None:
    for _ in range(2):
        assert summary(desk, "notes", "-n", "20")["outcomes"] == {"stored": 20}


def test_a_batch_is_as_long_as_was_said(desk: Path, served: Server) -> None:
    told = summary(desk, "each", "-n", "25", "--batch", "10")
    assert (told["statuses"], told["outcomes"]) == ({"201": 3}, {"stored": 25})


def test_a_rate_is_kept(desk: Path, served: Server) -> None:
    assert summary(desk, "notes", "-n", "30", "--rate", "60")["seconds"] >= 0.4


def test_what_is_refused_for_the_moment_is_sent_again(desk: Path, served: Server) -> None:
    told = summary(desk, "slow", "-n", "4", "--concurrency", "4", "--patience", "600")
    assert told["outcomes"] == {"stored": 4}
    assert told["retries"] > 0
    impatient = summary(desk, "slow", "-n", "40", "--concurrency", "40", "--patience", "0", code=3)
    assert impatient["unexpected"] == impatient["outcomes"]["refused"] > 0


def test_the_unexpected_is_shown_and_ends_with_3(desk: Path, served: Server) -> None:
    done = run(desk, "send", "broken", "-n", "9")
    assert done.code == 3
    assert "unexpected  9" in done.out
    shown = done.err.splitlines()
    assert len(shown) == 5
    assert all(line.startswith("unexpected: broken, but should be taken: 500 ") for line in shown)


def test_the_summary_is_for_reading(desk: Path, served: Server) -> None:
    done = run(desk, "send", "notes", "-n", "10")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "messages", "outcomes", "statuses", "latency", "retries", "unexpected"
    ]  # fmt: skip
    assert done.err == ""


def test_what_cannot_be_done_is_said(desk: Path, served: Server, tmp_path: Path) -> None:
    for words, sentence in [
        (["notes"], "Say what to send"),
        (["notes", "1", "-n", "1"], "Say what to send"),
        (["notes", "1", "--bad", "0.5"], "--bad and --rate are for made-up messages: say -n N in place of BODY."),
        (["notes", "1", "--url", "127.0.0.1:8000"], "say it with http:// or https://, as in http://127.0.0.1:8000."),
        (["notes", "-n", "1", "--url", "http://:x"], "say it with http:// or https://"),
        (["nothing", "1"], "There is no channel nothing"),
        (["notes", "-n", "1", "--batch", "2"], "--batch is for channels with `many=`; /notes takes one message in a"),
        (["all", "-n", "200", "--batch", "101"], "up to 100"),
        (["all", "-n", "90", "--batch", "90", "--bad", "0.5"], "one request of 90 messages has no share of bad ones"),
        (["notes", "1", "-H", "nonsense"], "not a header"),
        (["elsewhere", "1"], "another issuer"),
    ]:
        done = run(desk, "send", *words)
        assert done.code == 2
        assert sentence in done.err
    assert run(desk, "send", "notes", "@absent.json").code == 1
    (tmp_path / "app.py").write_text(APP)
    done = run(tmp_path, "send", "notes", "1")
    assert (done.code, "start `headgate dev`, or say --url" in done.err) == (2, True)
    nowhere = f"http://127.0.0.1:{free_port()}"
    unserved = run(tmp_path, "send", "notes", "1", "--url", nowhere, "--patience", "0.1")
    assert unserved.code == 1
    assert unserved.err.startswith(f"There was no answer from {nowhere}/notes (ClientConnectorError);")


# In every life but the last the hundredth request is not answered, nor any after the thousandth: so it is killed with a
# request in flight, and before everything is sent, however long that takes to come.
MORTAL = """
import asyncio, itertools, os

numbers = itertools.count(1)


async def guest(request):
    number = next(numbers)
    if os.environ["LIFE"] != "last" and (number == 100 or number > 1000):
        await asyncio.Event().wait()
    return "guest"


app.channel("/mortal", Note, key="id", auth=guest)
"""


def test_nothing_is_lost_or_doubled_while_the_server_is_killed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + MORTAL)
    state, env = tmp_path / ".headgate", {"TEST_JWT": "x" * 32, "TEST_HOOK": "x" * 32}
    port = free_port()
    server = start(tmp_path, state, port, env={**env, "LIFE": "first"})
    sending = subprocess.Popen(
        headgate("send", "mortal", "-n", "3000", "--rate", "1500", "--patience", "600", "--json"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, **env, "LIFE": "of a sender"},
    )
    try:
        for goal, life in ((300, "second"), (1_000, "last")):
            until(lambda goal=goal: len(stored(tmp_path, "mortal")) >= goal, f"{goal} are stored")  # type: ignore[misc]
            kill(server)
            server = start(tmp_path, state, port, env={**env, "LIFE": life})
        out, _ = sending.communicate(timeout=5 * PATIENCE_S)
    finally:
        kill(server)
        sending.kill()
        sending.communicate()
    told = json.loads(out)
    assert sending.returncode == 0
    assert told["retries"] >= 2
    assert told["outcomes"]["stored"] + told["outcomes"].get("replayed", 0) == 3000
    assert len(stored(tmp_path, "mortal")) == len(set(stored(tmp_path, "mortal"))) == 3000
