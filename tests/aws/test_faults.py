"""Calls of the zips go wrong on the wire: the same verdicts as on the local engine, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from headgate.testing.answer import Answer
from tests.aws.emulator.wire import Kind
from tests.aws.site import LARGE, Site, new_note

pytestmark = pytest.mark.xdist_group("intake")

_INNER = ("4711", "Exception", "Traceback", "botocore", "arn:", "amazonaws", "127.0.0.1", "DynamoDB", "Rate exceeded")


def says_nothing_of_ours(answer: Answer) -> None:
    for word in _INNER:
        assert word not in answer.body.decode(), answer


def is_unavailable(answer: Answer) -> None:
    """503, when to try again, and no word about why."""
    assert answer.status == 503, answer
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:headgate:problem:unavailable"
    says_nothing_of_ours(answer)


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


# ------------------------------------------------------------------------------------------------------------ outages


@pytest.mark.parametrize("kind", ["refuse", "throttle", "fail"])
@pytest.mark.parametrize("text", ["", LARGE], ids=["row", "bucket"])
def test_a_message_is_unavailable_while_the_store_is_and_taken_afterwards(site: Site, kind: Kind, text: str) -> None:
    sent = new_note(text=text)
    with site.deployed.emulator.fault(site.function("notes", "Ingest"), kind):
        is_unavailable(site.post("notes", sent))
    made = site.post("notes", sent)
    assert (made.status, is_replay(made)) == (201, False)
    assert site.rows("notes", [str(sent["id"])]) == 1


def test_a_store_that_is_slow_is_unavailable_before_the_sender_gives_up(site: Site) -> None:
    function, emulator = site.function("notes", "Ingest"), site.deployed.emulator
    with emulator.hurried(function), emulator.fault(function, "delay", delay_s=8):
        site.deployed.start_anew(function)
        is_unavailable(site.post("notes", new_note()))
    site.deployed.start_anew(function)


@pytest.mark.parametrize("kind", ["refuse", "throttle", "fail"])
def test_reading_is_unavailable_while_the_store_is(site: Site, kind: Kind) -> None:
    sent = new_note(text=LARGE, topic=str(uuid4()))
    site.post("notes", sent)
    for service in ("dynamodb", "s3"):
        with site.deployed.emulator.fault(site.function("notes", "Query"), kind, service=service):
            for rest in (f"/{sent['id']}", f"?topic={sent['topic']}"):
                is_unavailable(site.read("notes", rest))
    assert site.read("notes", f"/{sent['id']}").json()["body"] == sent


def test_of_a_batch_what_is_unavailable_is_named(site: Site) -> None:
    small, large = new_note(), new_note(text=LARGE)
    with site.deployed.emulator.fault(site.function("each", "Ingest"), "throttle", service="s3"):
        answer = site.post("each", [small, large, {"id": 1}])
    says_nothing_of_ours(answer)
    assert answer.status == 201
    assert [item["status"] for item in answer.json()["items"]] == ["stored", "unavailable", "invalid"]
    again = site.post("each", [small, large])
    assert [item["status"] for item in again.json()["items"]] == ["replayed", "stored"]


@pytest.mark.parametrize("channel", ["each", "all"])
def test_a_batch_of_which_nothing_can_be_stored_is_unavailable(site: Site, channel: str) -> None:
    messages = [new_note() for _ in range(3)]
    with site.deployed.emulator.fault(site.function(channel, "Ingest"), "refuse"):
        answer = site.post(channel, messages)
    says_nothing_of_ours(answer)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert site.rows(channel, [str(one["id"]) for one in messages]) == 0
    assert site.post(channel, messages).status == 201


@pytest.mark.parametrize("kind", ["refuse", "throttle", "fail"])
def test_nobody_is_let_in_while_keys_cannot_be_looked_up_and_nobody_is_told_why(site: Site, kind: Kind) -> None:
    sent = new_note()
    with site.deployed.emulator.fault(site.function("keyed", "Authorizer"), kind):
        answer = site.post("keyed", sent)
    says_nothing_of_ours(answer)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert site.post("keyed", sent).status == 201


# -------------------------------------------------------------------------------------------------------- lost answers


def test_a_message_whose_answer_was_lost_on_the_way_is_made_once_and_is_new(site: Site) -> None:
    sent = new_note()
    with site.deployed.emulator.fault(site.function("notes", "Ingest"), "cut", action="PutItem", times=1):
        made = site.post("notes", sent)
    assert (made.status, is_replay(made)) == (201, False)
    assert is_replay(site.post("notes", sent))
    assert site.rows("notes", [str(sent["id"])]) == 1


def test_one_that_is_stored_while_every_answer_is_lost_is_replayed_to_the_retry(site: Site) -> None:
    sent = new_note()
    with site.deployed.emulator.fault(site.function("notes", "Ingest"), "cut"):
        is_unavailable(site.post("notes", sent))
    assert is_replay(site.post("notes", sent))
    assert site.post("notes", {**sent, "text": "another"}).status == 409
    assert site.rows("notes", [str(sent["id"])]) == 1


# ------------------------------------------------------------------------------------------------- twins and conflicts


@pytest.mark.parametrize("kind", ["throttle", "cut"])
def test_twins_are_one_whatever_happens_to_some_of_their_calls(site: Site, kind: Kind) -> None:
    sent = new_note()
    with site.deployed.emulator.fault(site.function("notes", "Ingest"), kind, times=5):
        answers = together(lambda _: site.post("notes", sent), range(8))
    assert {answer.status for answer in answers} <= {201, 503}
    answers.append(site.post("notes", sent))
    assert {answer.body for answer in answers if answer.status == 201} == {answers[-1].body}
    assert [is_replay(answer) for answer in answers if answer.status == 201].count(False) <= 1
    assert site.rows("notes", [str(sent["id"])]) == 1


def test_of_different_bodies_one_wins_whatever_happens_to_some_of_their_calls(site: Site) -> None:
    key = str(uuid4())
    with site.deployed.emulator.fault(site.function("notes", "Ingest"), "cut", times=4):
        answers = together(lambda n: site.post("notes", {"id": key, "text": str(n)}), range(6))
    stored = site.read("notes", f"/{key}").json()["body"]["text"]
    for n, answer in enumerate(answers):
        assert answer.status in ((201, 503) if str(n) == stored else (409, 503)), (n, stored, answer)


# ------------------------------------------------------------------------------------------ between every two steps


@pytest.mark.parametrize("kind", ["refuse", "cut"])
@pytest.mark.parametrize(
    ("channel", "texts"),
    [("notes", [""]), ("notes", [LARGE]), ("each", ["", LARGE]), ("all", ["", LARGE])],
    ids=["row", "bucket", "each", "all"],
)
def test_wherever_the_endpoint_goes_away_a_retry_completes_and_stores_once(
    site: Site, channel: str, texts: Sequence[str], kind: Kind
) -> None:
    function, emulator = site.function(channel, "Ingest"), site.deployed.emulator
    before = len(emulator.calls(function))
    assert site.post(channel, _sent(channel, texts)).status == 201
    steps = len(emulator.calls(function)) - before
    assert steps >= len([text for text in texts if text]) + 1
    for step in range(steps):
        sent = _sent(channel, texts)
        with emulator.fault(function, kind, after=step):
            answer = site.post(channel, sent)
            says_nothing_of_ours(answer)
            assert answer.status in (201, 503)
        retried = site.post(channel, sent)
        assert retried.status == 201
        for one in sent if isinstance(sent, list) else [sent]:
            assert site.rows(channel, [one["id"]]) == 1
            assert site.read(channel, f"/{one['id']}").json()["body"] == one


def _sent(channel: str, texts: Sequence[str]) -> Any:
    messages = [new_note(text=text) for text in texts]
    return messages if channel in ("each", "all") else messages[0]


def together(ask: Callable[[Any], Answer], those: Sequence[Any]) -> list[Answer]:
    with ThreadPoolExecutor(len(those)) as threads:
        return list(threads.map(ask, those))
