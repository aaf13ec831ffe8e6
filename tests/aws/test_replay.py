"""A range of a stream in Kinesis, once more to one consumer: in order, as many at a time as it takes, and how far.

What comes of a call is what the consumer's own code answers; Lambda in between is ours.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.aws.clients import Clients
from headgate.aws.replay import Range, Replaying, StuckError
from headgate.aws.stream import pushed, pushing
from headgate.engine import Place
from headgate.errors import Unavailable
from headgate.testing.contract.index import message
from tests.aws.behind import LAMBDA_S, Site, written
from tests.aws.emulator.process import Emulator

pytestmark = pytest.mark.xdist_group("emulator")

APP = """
from headgate import App, Permanent, Public, RetryPolicy, Stream

app = App("shop")
seen = []
hopeless = set()


@app.channel(
    "/events", name="events", key="id", auth=Public(), batch=4,
    delivery=Stream(attempts=2, backoff=RetryPolicy(first_s=0, most_s=0)),
)
def take(events, messages):
    seen.append([message.id for message in messages])
    return [Permanent("never") if message.id in hopeless else None for message in messages]
"""


class Calls(Clients):
    """Lambda, as far as it takes to call one function; at the sequences in `deadly` it ends as if out of memory."""

    def __init__(self, site: Site, deadly: set[str]) -> None:
        self._site = site
        self._consumer = site.consumer()
        self._deadly = deadly

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        assert (service, operation, parameters["FunctionName"]) == ("lambda", "invoke", "take")
        event = json.loads(parameters["Payload"])
        if self._deadly & {record["kinesis"]["sequenceNumber"] for record in event["Records"]}:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "Runtime.OutOfMemory"}')}
        return {"Payload": io.BytesIO(json.dumps(self._consumer.consume(event, LAMBDA_S)).encode())}


class Shop:
    """A stream of ten records, and what replays it."""

    def __init__(self, site: Site, app: Any) -> None:
        self.site, self.app = site, app
        self.deadly: set[str] = set()
        told = []
        for n in range(10):
            body = json.dumps({"id": f"e{n}"})
            record = message(f"e{n}", body, channel="events", received_ms=site.clock.now_ms())
            told += site.rooms.stream.append([record._replace(status="accepted", order="one")])
            site.clock.advance(60)
        self.places = [each.place for each in told if each.place is not None]
        self.shard = self.places[0].shard
        kinesis = site.emulator.client("kinesis")
        arn = kinesis.describe_stream_summary(StreamName=site.stream_name)["StreamDescriptionSummary"]["StreamARN"]
        calls = Calls(site, self.deadly)
        self.replaying = Replaying(site.rooms.stream, calls, "events", arn, "take", batch=4, retries=1)

    def hand_over(self, **limits: Any) -> list[tuple[int, str]]:
        return [*self.replaying.hand_over(Range(self.shard, **limits))]


@pytest.fixture
def shop(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    module = written(tmp_path, APP, emulator, monkeypatch)
    site = Site(emulator, module, "events", consumer="take")
    yield Shop(site, importlib.import_module(module))
    site.close()


def ids(first: int, last: int) -> list[str]:
    return [f"e{n}" for n in range(first, last + 1)]


def test_all_of_it_is_handed_over_in_order_and_so_it_is_again(shop: Shop) -> None:
    for _ in range(2):
        shop.app.seen.clear()
        assert sum(records for records, _ in shop.hand_over()) == 10
        assert shop.app.seen == [ids(0, 3), ids(4, 7), ids(8, 9)]


def test_a_range_goes_by_sequences_and_by_times(shop: Shop) -> None:
    sequences = [place.sequence for place in shop.places]
    begun_ms = shop.site.clock.now_ms() - 600_000
    assert shop.hand_over(after=sequences[1], until=sequences[3]) == [(2, sequences[3])]
    assert shop.hand_over(since_ms=begun_ms + 90_000, before_ms=begun_ms + 240_000) == [(2, sequences[3])]
    assert shop.app.seen == [ids(2, 3)] * 2
    assert shop.hand_over(since_ms=shop.site.clock.now_ms()) == []
    assert shop.hand_over(before_ms=0) == []


def test_a_function_that_dies_is_given_less_until_the_record_it_dies_at_is_alone(shop: Shop) -> None:
    poison = shop.places[5]
    shop.deadly.add(poison.sequence)
    with pytest.raises(StuckError, match=r"Runtime\.OutOfMemory") as stuck:
        shop.hand_over()
    assert stuck.value.sequence == poison.sequence
    assert [one for some in shop.app.seen for one in some] == ids(0, 4)
    shop.app.seen.clear()
    assert sum(records for records, _ in shop.hand_over(after=poison.sequence)) == 4
    assert [one for some in shop.app.seen for one in some] == ids(6, 9)


def test_what_can_never_work_is_one_dead_letter_however_often_it_is_replayed(shop: Shop) -> None:
    shop.app.hopeless.add("e3")
    for _ in range(2):
        assert sum(records for records, _ in shop.hand_over()) == 10
    (letter,) = shop.site.rooms.queue.dead("events", 5, None).messages
    assert (letter.key, letter.scope, letter.error) == ("e3", "take", "never")


def test_a_consumer_that_cannot_keep_its_dead_letters_gets_no_further(shop: Shop) -> None:
    shop.app.hopeless.add("e1")
    shop.site.faults.before = lambda at: unstorable(shop.site.faults.asked[at])
    with pytest.raises(StuckError, match="again and again"):
        shop.hand_over()
    shop.site.faults.mend()
    assert sum(records for records, _ in shop.hand_over()) == 10


def unstorable(asked: str) -> None:
    """An outage of DynamoDB."""
    if asked.startswith("dynamodb "):
        raise Unavailable


def test_a_record_is_handed_over_as_lambda_hands_it_over(shop: Shop, cases: Path) -> None:
    recorded = json.loads((cases / "lambda_events" / "kinesisStreamEvent.json").read_text())["Records"][0]
    (told, *_) = shop.replaying.read(Range(shop.shard))
    event = pushing(told, shop.replaying.stream_arn)
    assert pushed("events", event) == told.record
    assert told.record.place == Place(shop.shard, shop.places[0].sequence)
    assert event.keys() <= recorded.keys()
    assert event["kinesis"].keys() == recorded["kinesis"].keys()
