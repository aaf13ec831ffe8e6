"""Streams on AWS behind the gate: what consumers do with records, and what becomes of those they cannot handle."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.aws.stream import REPLAYED, data_of
from headgate.engine import Redriven
from headgate.errors import Misuse, Unavailable
from headgate.gate.finish import LEASE_MS
from headgate.message import Message, Moment
from headgate.testing.contract.index import message
from tests.aws.behind import LAMBDA_S, Site, event, failed, written
from tests.aws.emulator.process import Emulator

pytestmark = pytest.mark.xdist_group("emulator")

APP = """
from datetime import timedelta
from headgate import App, Permanent, Public, RetryPolicy, Stream

app = App("shop")
seen = []
to_do = {}
deaths = []
policy = RetryPolicy(first_s=0, most_s=0, jitter=0)
slow = RetryPolicy(first_s=600, most_s=600, jitter=0)


def count(order, message):
    seen.append((message.id, message.attempt))
    match to_do.get(message.id):
        case "permanent":
            raise Permanent("never")
        case "fail":
            raise OSError
        case "die":
            deaths.append(message.id)


def other(order):
    pass


def take(orders, messages):
    seen.append([message.id for message in messages])
    deaths.extend(message.id for message in messages if to_do.get(message.id) == "die")
    if any(to_do.get(message.id) == "fail" for message in messages):
        raise OSError


quick = Stream(attempts=3, backoff=policy, most_age=timedelta(hours=1))
events = app.channel(
    "/events", name="events", key="id", auth=Public(), delivery=quick, batch=1,
    accepted=lambda receipt: {"shard": receipt.shard, "sequence": receipt.sequence},
)
events(count)
events(other)
app.channel("/slow", name="slow", key="id", auth=Public(), delivery=Stream(attempts=3, backoff=slow), batch=1)(count)
app.channel(
    "/once", name="once", key="id", auth=Public(), delivery=Stream(dedupe=True), read=True,
    accepted=lambda receipt: {"shard": receipt.shard, "sequence": receipt.sequence},
)(other)
app.channel("/lists", name="lists", key="id", auth=Public(), delivery=quick, batch=4)(take)
"""

Open = Callable[..., Site]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> str:
    return written(tmp_path, APP, emulator, monkeypatch)


@pytest.fixture
def app(module: str) -> Any:
    return importlib.import_module(module)


@pytest.fixture
def open_site(emulator: Emulator, module: str) -> Iterator[Open]:
    sites: list[Site] = []

    def opened(channel: str, consumer: str = "count") -> Site:
        sites.append(Site(emulator, module, channel, consumer=consumer))
        return sites[-1]

    yield opened
    for site in sites:
        site.close()


def sent(site: Site, id: str) -> Message:
    body = json.dumps({"id": id})
    return message(id, body, channel=site.channel.name, received_ms=site.clock.now_ms())._replace(
        status="accepted", order=id
    )


def records(site: Site, *ids: str, first: int = 1) -> dict[str, Any]:
    """An event of a shard."""
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{at}",
                "kinesis": {
                    "data": base64.b64encode(data_of(sent(site, id))).decode(),
                    "partitionKey": id,
                    "sequenceNumber": str(at),
                    "approximateArrivalTimestamp": 1.5,
                },
            }
            for at, id in enumerate(ids, start=first)
        ]
    }


def letters(site: Site) -> list[Message]:
    return site.rooms.queue.dead(site.channel.name, 10, None).messages


def test_every_record_is_handled_and_none_leaves_a_row(open_site: Open, app: Any) -> None:
    site = open_site("events")
    assert failed(site.consumer().consume(records(site, "a", "b", "c"), LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("b", 1), ("c", 1)]
    assert letters(site) == []


def test_a_record_that_fails_is_tried_as_often_as_declared_then_a_dead_letter(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["b"] = "fail"
    assert failed(site.consumer().consume(records(site, "a", "b", "c"), LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]
    (letter,) = letters(site)
    assert (letter.key, letter.scope, letter.status, letter.attempts) == ("b", "count", "failed", 3)
    assert (letter.body, len(letter.timeline)) == (b'{"id": "b"}', 3)
    assert letter.expires_ms is None


def test_what_cannot_ever_work_is_given_up_on_the_spot(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["b"] = "permanent"
    assert failed(site.consumer().consume(records(site, "a", "b", "c"), LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("b", 1), ("c", 1)]
    assert [letter.error for letter in letters(site)] == ["never"]


def test_two_records_of_one_id_are_two_dead_letters_and_the_same_one_is_one(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["a"] = "permanent"
    twice = [*records(site, "a")["Records"], *records(site, "a", first=2)["Records"]]
    twice[1]["kinesis"]["data"] = base64.b64encode(data_of(sent(site, "a")._replace(body=b'{"id":"a","n":2}'))).decode()
    for _ in range(2):
        assert failed(site.consumer().consume({"Records": twice}, LAMBDA_S)) == []
    assert sorted(letter.key for letter in letters(site)) == ["a", "a~2"]


def test_what_is_too_old_when_its_turn_comes_is_a_dead_letter(open_site: Open, app: Any) -> None:
    site = open_site("events")
    old = records(site, "a", "b")
    site.clock.advance(3_601)
    new = records(site, "c", first=3)
    assert failed(site.consumer().consume({"Records": [*old["Records"], *new["Records"]]}, LAMBDA_S)) == []
    assert app.seen == [("c", 1)]
    assert sorted(letter.key for letter in letters(site)) == ["a", "b"]


def test_a_wait_for_which_there_is_no_time_is_lambdas_and_attempts_go_on_counting(open_site: Open, app: Any) -> None:
    site = open_site("slow")
    app.to_do["b"] = "fail"
    consumer, handed = site.consumer(), records(site, "a", "b", "c")
    for _ in range(2):
        assert failed(consumer.consume(handed, LAMBDA_S)) == ["2"]
        handed = {"Records": handed["Records"][-2:]}
    assert failed(consumer.consume(handed, LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]
    assert [letter.attempts for letter in letters(site)] == [3]


def test_another_process_goes_on_counting(open_site: Open, app: Any) -> None:
    site = open_site("slow")
    app.to_do["a"] = "fail"
    for _ in range(2):
        assert failed(site.consumer().consume(records(site, "a", "b"), LAMBDA_S)) == ["1"]
    assert failed(site.consumer().consume(records(site, "a", "b"), LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    (letter,) = letters(site)
    assert (letter.attempts, [moment.kind for moment in letter.timeline]) == (3, ["OSError"] * 3)


class Died(BaseException):
    """The process of a function is gone."""


def lambda_goes_on(site: Site, app: Any, handed: dict[str, Any], *, deaths: int) -> None:
    """Hand records to a new process each time that one dies, as Lambda does, which may halve them."""

    def die(_: int) -> None:
        if app.deaths:
            app.deaths.clear()
            raise Died

    site.faults.before = die
    for _ in range(deaths):
        with pytest.raises(Died):
            site.consumer().consume(handed, LAMBDA_S)
    assert failed(site.consumer().consume(handed, LAMBDA_S)) == []


def test_a_record_at_which_every_process_dies_is_given_up_after_its_attempts(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["a"] = "die"
    lambda_goes_on(site, app, records(site, "a", "b"), deaths=3)
    assert app.seen == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    (letter,) = letters(site)
    assert (letter.key, letter.attempts) == ("a", 3)
    assert [moment.kind for moment in letter.timeline] == ["Lost"] * 3


def test_a_record_at_which_every_process_dies_does_not_take_the_others_of_its_list_with_it(
    open_site: Open, app: Any
) -> None:
    site = open_site("lists", "take")
    app.to_do["a"] = "die"
    lambda_goes_on(site, app, records(site, *"abcd"), deaths=5)  # with four, with two, and three times alone
    assert [letter.key for letter in letters(site)] == ["a"]
    assert {key for keys in app.seen for key in keys if "a" not in keys} == set("bcd")


def test_what_comes_alone_after_several_were_lost_has_not_failed(open_site: Open, app: Any) -> None:
    site = open_site("lists", "take")
    app.to_do["b"] = "die"
    app.to_do["a"] = "fail"
    handed = records(site, "a", "b")["Records"]
    with pytest.raises(Died):
        lambda_goes_on(site, app, {"Records": handed}, deaths=0)
    app.deaths.clear()
    assert failed(site.consumer().consume({"Records": handed[:1]}, LAMBDA_S)) == []
    (letter,) = letters(site)
    assert (letter.key, [moment.kind for moment in letter.timeline]) == ("a", ["OSError"] * 3)


def test_nothing_is_written_as_long_as_all_goes_well(open_site: Open, app: Any) -> None:
    site = open_site("events")
    consumer = site.consumer()
    assert failed(consumer.consume(records(site, "a", "b"), LAMBDA_S)) == []
    assert site.faults.asked == ["dynamodb update_item"] * 3
    assert failed(consumer.consume(records(site, "c", "d", first=3), LAMBDA_S)) == []
    assert len(site.faults.asked) == 3


def test_a_replay_leaves_alone_what_the_consumer_is_at(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["a"] = "fail"
    assert failed(site.consumer().consume({**records(site, "a"), REPLAYED: True}, LAMBDA_S)) == []
    assert "dynamodb update_item" not in site.faults.asked


def test_where_attempts_cannot_be_kept_records_are_handled_all_the_same(open_site: Open, app: Any) -> None:
    def out(at: int) -> None:
        if site.faults.asked[at] == "dynamodb update_item":
            raise Unavailable

    site = open_site("slow")
    app.to_do["b"] = "fail"
    site.faults.before = out
    assert failed(site.consumer().consume(records(site, "a", "b"), LAMBDA_S)) == ["2"]
    assert app.seen == [("a", 1), ("b", 1)]


def test_records_that_come_again_are_handled_again(open_site: Open, app: Any) -> None:
    site = open_site("events")
    consumer = site.consumer()
    for _ in range(2):
        assert failed(consumer.consume(records(site, "a", "b"), LAMBDA_S)) == []
    assert app.seen == [("a", 1), ("b", 1)] * 2


def test_one_bad_record_does_not_take_the_others_of_its_list_with_it(open_site: Open, app: Any) -> None:
    site = open_site("lists", "take")
    app.to_do["c"] = "fail"
    assert failed(site.consumer().consume(records(site, *"abcdefgh"), LAMBDA_S)) == []
    assert [letter.key for letter in letters(site)] == ["c"]
    alone = {key for keys in app.seen for key in keys if "c" not in keys}
    assert alone == set("abdefgh")


def test_without_time_nothing_is_begun(open_site: Open, app: Any) -> None:
    site = open_site("events")
    assert failed(site.consumer().consume(records(site, "a"), 5)) == ["1"]
    assert app.seen == []


def test_a_dead_letter_that_cannot_be_kept_comes_again(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["a"] = "permanent"
    consumer = site.consumer()
    assert failed(consumer.consume(records(site, "z", first=0), LAMBDA_S)) == []
    for answered in (False, True):
        site.faults.fail_at(0, answered=answered)
        assert failed(consumer.consume(records(site, "a", "b"), LAMBDA_S)) == ["1"]
    site.faults.mend()
    assert failed(consumer.consume(records(site, "a", "b"), LAMBDA_S)) == []
    assert [letter.key for letter in letters(site)] == ["a"]


def test_a_recorded_event_of_kinesis_is_read(open_site: Open, app: Any, cases: Path) -> None:
    site = open_site("events")
    for name in ("kinesisStreamEvent", "kinesisStreamEventOneRecord", "kinesisStreamCloudWatchLogsEvent"):
        recorded = json.loads((cases / "lambda_events" / f"{name}.json").read_text())
        assert failed(site.consumer().consume(recorded, LAMBDA_S)) == []
    assert {letter.timeline[-1].kind for letter in letters(site)} == {"TooOld"}


def test_a_dead_letter_that_was_redriven_is_handled_by_its_own_consumer(open_site: Open, app: Any) -> None:
    site = open_site("events")
    app.to_do["a"] = "permanent"
    consumer = site.consumer()
    consumer.consume(records(site, "a"), LAMBDA_S)
    app.to_do.clear()
    assert site.rooms.queue.alter("events", "count", "a", Redriven(Moment(1, "redriven")))
    assert failed(consumer.consume({}, LAMBDA_S)) == []
    assert site.row("a", "count").status == "processed"
    assert app.seen == [("a", 1), ("a", 1)]


def test_a_consumer_that_is_not_declared_is_a_mistake_of_the_deployment(open_site: Open, app: Any) -> None:
    with pytest.raises(Misuse, match="nobody"):
        open_site("events", "nobody").consumer()


# ------------------------------------------------------------------------------------------------- ingest and buried


def posted(body: bytes, path: str = "/events") -> dict[str, Any]:
    return {
        "resource": path, "path": path, "httpMethod": "POST", "headers": {"Content-Type": "application/json"},
        "requestContext": {"requestId": "r-1"}, "body": body.decode(),
    }  # fmt: skip


def test_a_sender_is_told_where_its_record_is_and_a_repetition_is_another(open_site: Open, app: Any) -> None:
    site = open_site("events")
    serving = site.serving()
    answers = [serving.answer(posted(b'{"id":"1"}'), LAMBDA_S) for _ in range(2)]
    assert [answer["statusCode"] for answer in answers] == [202, 202]
    (shard,) = site.rooms.stream.shards("events")
    found = site.rooms.stream.read("events", shard, None, 10)
    assert [json.loads(answer["body"]) for answer in answers] == [
        {"shard": shard, "sequence": record.place.sequence} for record in found
    ]
    assert [record.message.body for record in found] == [b'{"id":"1"}'] * 2


def test_where_the_stream_dedupes_a_repetition_is_told_the_same_and_another_body_is_a_conflict(
    open_site: Open, app: Any
) -> None:
    site = open_site("once", "other")
    serving = site.serving()
    bodies = (b'{"id":"1"}', b'{"id": "1"}', b'{"id":"1","n":2}')
    first, again, conflict = (serving.answer(posted(body, "/once"), LAMBDA_S) for body in bodies)
    assert [answer["statusCode"] for answer in (first, again, conflict)] == [202, 202, 409]
    assert first["body"] == again["body"]
    (shard,) = site.rooms.once.shards("once")
    (record,) = site.rooms.once.read("once", shard, None, 10)
    assert json.loads(first["body"]) == {"shard": shard, "sequence": record.place.sequence}
    assert (site.row("1").status, site.row("1").body) == ("processed", b'{"id":"1"}')


@pytest.mark.parametrize(("operation", "records"), [("put_records", 1), ("update_item", 2)])
def test_a_sweep_appends_what_was_claimed_before_a_crash_and_leaves_redriven_dead_letters_alone(
    open_site: Open, app: Any, operation: str, records: int
) -> None:
    site = open_site("once", "other")
    site.rooms.keep_letter(sent(site, "dead")._replace(scope="other", status="failed"))
    assert site.rooms.queue.alter("once", "other", "dead", Redriven(Moment(1, "redriven")))
    begun = len(site.faults.asked)

    def fail(at: int) -> None:
        if site.faults.asked[at].endswith(operation):
            raise Unavailable

    site.faults.before = fail
    assert [outcome.kind for outcome in site.rooms.once.append_once([sent(site, "1")])] == ["unavailable"]
    site.faults.mend()
    assert site.faults.asked[begun] == "dynamodb put_item"
    assert site.sweep() == 0  # somebody may be at it
    site.clock.advance(LEASE_MS / 1000)
    assert site.sweep() == 1
    assert site.sweep() == 0
    (shard,) = site.rooms.once.shards("once")
    found = site.rooms.once.read("once", shard, None, 10)
    assert [record.message.key for record in found] == ["1"] * records
    (told,) = site.rooms.once.append_once([sent(site, "1")])
    assert (told.kind, told.place) == ("replayed", found[-1].place)
    assert [site.row("1").status, site.row("dead", "other").status] == ["processed", "accepted"]


def test_records_at_which_a_function_died_are_dead_letters_of_its_consumer(open_site: Open, app: Any) -> None:
    site = open_site("events")
    stored = site.rooms.stream.append([sent(site, id) for id in "abcd"])
    places = [outcome.place for outcome in stored if outcome.place is not None]
    batch = {
        "KinesisBatchInfo": {
            "shardId": places[0].shard, "startSequenceNumber": places[1].sequence,
            "endSequenceNumber": places[2].sequence, "batchSize": 2,
        }
    }  # fmt: skip
    for _ in range(2):
        assert site.bury(json.dumps(batch)) == []
    assert sorted((letter.key, letter.scope) for letter in letters(site)) == [("b", "count"), ("c", "count")]
    assert site.bury("hello", *[one["body"] for one in event("{}")["Records"]]) == ["m-0", "m-1"]
