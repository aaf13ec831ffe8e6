"""The functions behind the gate of a Queued channel: forwarder, worker, buried and sweep; and faults at every step."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from headgate.aws.envelope import Where
from headgate.engine import Discarded, Redriven
from headgate.message import Moment
from headgate.testing.contract.index import kinds
from tests.aws.behind import LAMBDA_S, Site, arrival, event, failed
from tests.aws.shop import Open, accepted, change, forwarded, made_module, made_sites, seen_app  # noqa: F401

pytestmark = pytest.mark.xdist_group("emulator")

# ---------------------------------------------------------------------------------------------------------- forwarder


def test_a_new_row_is_forwarded_and_worked_off(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    assert failed(site.worker().work_off(accepted(site, "1", "ключ"), LAMBDA_S)) == []
    assert [site.row(key).status for key in ("1", "ключ")] == ["processed"] * 2
    assert sorted(app.seen) == [("1", 1), ("ключ", 1)]


def test_only_what_is_new_and_what_was_redriven_is_forwarded(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    app.to_do["1"] = "permanent"
    work = accepted(site, "1")
    before = site.image("1")
    assert failed(site.worker().work_off(work, LAMBDA_S)) == []
    dead = site.image("1")
    assert site.rooms.queue.alter("plain", "", "1", Redriven(Moment(1, "redriven")))
    redriven = site.image("1")
    assert forwarded(site, change(dead, before), change(redriven, redriven), {"dynamodb": {}}) == []
    assert site.taken() == {"Records": []}
    assert forwarded(site, change(redriven, dead)) == []
    (record,) = site.taken()["Records"]
    assert json.loads(record["body"]) == {"headgate_row": {"scope": "", "key": "1"}}


def test_a_row_that_replaces_an_expired_one_is_new(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    accepted(site, "1", "2")
    expired = {**site.image("1"), "status": {"S": "processed"}}
    assert forwarded(site, change(site.image("2"), expired)) == []
    assert len(site.taken()["Records"]) == 1


def test_what_sqs_did_not_take_is_where_the_stream_comes_back_to(
    open_site: Open, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.aws.postbox.pause", lambda _: None)
    site = open_site("plain")
    keys = [str(n) for n in range(12)]
    site.accept(*keys)
    through = site.faults.call

    def refusing(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        entries = parameters.get("Entries", ())
        bad = [entry for entry in entries if json.loads(entry["MessageBody"])["headgate_row"]["key"] == "7"]
        good = [entry for entry in entries if entry not in bad]
        answer = through(service, operation, **{**parameters, "Entries": good}) if good else {}
        return {**answer, "Failed": [{"Id": entry["Id"], "SenderFault": False} for entry in bad]}

    monkeypatch.setattr(site.faults, "call", refusing)
    assert forwarded(site, *(change(site.image(key), number=f"at {key}") for key in keys)) == ["at 7"]


def test_in_an_outage_all_of_it_comes_again(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    site.accept("1")
    site.faults.fail_at(1, answered=False)  # the first is the look at the row
    image = site.image("1")
    site.faults.fail_at(0, answered=False)
    assert forwarded(site, change(image, number="9")) == ["9"]


def test_a_recorded_event_of_a_stream_that_is_none_of_ours_does_nothing(open_site: Open, app: Any, cases: Path) -> None:
    site = open_site("plain")
    recorded = json.loads((cases / "lambda_events" / "dynamoStreamEvent.json").read_text())
    assert failed(site.forwarder().forward(recorded)) == []
    assert site.taken() == {"Records": []}


# ------------------------------------------------------------------------------------------------------------- worker


def test_a_failed_attempt_comes_back_after_the_backoff(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    app.to_do["1"] = "fail"
    worker, work = site.worker(), accepted(site, "1")
    delays: list[Any] = []
    site.rooms.postbox.delay = delays.append  # type: ignore[method-assign, assignment]
    (record,) = work["Records"]
    for wait_s in (10, 20):
        assert failed(worker.work_off(work, LAMBDA_S)) == [record["messageId"]]
        assert delays.pop() == [(record["receiptHandle"], wait_s)]
        assert failed(worker.work_off(work, LAMBDA_S)) == [record["messageId"]]  # too early
        assert delays.pop() == [(record["receiptHandle"], wait_s)]
        site.clock.advance(wait_s)
    assert failed(worker.work_off(work, LAMBDA_S)) == []
    found = site.row("1")
    assert (found.status, found.attempts) == ("failed", 3)
    assert [(moment.what, moment.kind) for moment in found.timeline] == [
        ("retried", "OSError"), ("retried", "OSError"), ("failed", "OSError")
    ]  # fmt: skip


def test_sqs_is_told_when_a_message_is_to_come_back(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    app.to_do["1"] = "retry"
    work = accepted(site, "1")
    (record,) = work["Records"]
    assert failed(site.worker().work_off(work, LAMBDA_S)) == [record["messageId"]]
    site.clock.advance(600.2)
    assert "sqs change_message_visibility_batch" in site.faults.asked
    assert site.taken() == {"Records": []}  # it was made invisible anew


def test_one_poison_message_does_not_hold_up_the_others(open_site: Open, app: Any) -> None:
    site = open_site("stored")
    work = accepted(site, *(str(n) for n in range(5)))
    work["Records"].insert(2, event("hello")["Records"][0])
    assert failed(site.worker().work_off(work, LAMBDA_S)) == ["m-0"]
    assert [site.row(str(n)).status for n in range(5)] == ["processed"] * 5


@pytest.mark.parametrize("manner", ["hang", "hang on"])
def test_a_handler_that_takes_too_long_is_stopped_and_its_message_tried_again(
    open_site: Open, app: Any, manner: str
) -> None:
    site = open_site("brisk")
    app.to_do["1"] = manner
    work = accepted(site, "1", "2")
    worker = site.worker()
    assert len(failed(worker.work_off(work, LAMBDA_S))) == 1
    assert site.row("2").status == "processed"
    found = site.row("1")
    assert (found.status, found.attempts, found.timeline[0].kind) == ("accepted", 1, "Timeout")
    app.to_do.clear()
    site.clock.advance(10)
    assert failed(worker.work_off(work, LAMBDA_S)) == []


def test_what_there_is_no_time_for_is_not_begun(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    work = accepted(site, "1")
    (record,) = work["Records"]
    assert failed(site.worker().work_off(work, 5.1)) == [record["messageId"]]
    assert (site.row("1").status, site.row("1").attempts, app.seen) == ("accepted", 0, [])


def test_a_handler_of_lists_is_handed_several_and_answers_for_each(open_site: Open, app: Any) -> None:
    site = open_site("lists")
    app.to_do["2"] = "again"
    work = accepted(site, "1", "2", "3", "4")
    assert len(failed(site.worker().work_off(work, LAMBDA_S))) == 1
    assert sorted(len(keys) for keys in app.seen) == [1, 3]
    assert [site.row(key).status for key in "1234"] == ["processed", "accepted", "processed", "processed"]


class Died(BaseException):
    """The process of a function is gone."""


def test_a_message_at_which_the_function_dies_costs_the_others_of_its_batch_one_attempt(
    open_site: Open, app: Any
) -> None:
    def die(_: int) -> None:
        if app.deaths:
            app.deaths.clear()
            raise Died

    site = open_site("lists")
    app.to_do["2"] = "die"
    work = accepted(site, "1", "2", "3")
    work["Records"].sort(key=lambda record: '"2"' not in record["body"])
    site.faults.before = die
    for receives in (1, 2, 3):
        for record in work["Records"]:
            record["attributes"]["ApproximateReceiveCount"] = str(receives)
        with pytest.raises(Died):
            site.worker().work_off(work, LAMBDA_S)
        site.clock.advance(600)
    assert failed(site.worker().work_off(work, LAMBDA_S)) == []
    assert (site.row("2").status, site.row("2").attempts) == ("failed", 3)
    assert [(site.row(key).status, site.row(key).attempts) for key in "13"] == [("processed", 2)] * 2


def test_messages_of_one_order_wait_for_the_one_before_and_the_others_do_not(open_site: Open, app: Any) -> None:
    site = open_site("ordered", fifo=True)
    app.to_do["a1"] = "fail"
    for keys, order in ((("a1", "a2"), "a"), (("b1", "b2"), "b")):
        assert kinds(site.accept(*keys, order=order)) == ["stored"] * 2
    names = ["a1", "b1", "a2", "b2"]
    assert forwarded(site, *(change(site.image(key), number=key) for key in names)) == []
    assert forwarded(site, *(change(site.image(key), number=key) for key in names)) == []  # taken once
    groups: dict[str, list[str]] = {}
    taken = site.taken()
    for record in taken["Records"]:
        key = json.loads(record["body"])["headgate_row"]["key"]
        groups.setdefault(record["attributes"]["MessageGroupId"], []).append(key)
    assert sorted(groups.values()) == [["a1", "a2"], ["b1", "b2"]]
    assert len(failed(site.worker().work_off(taken, LAMBDA_S))) == 2
    assert [site.row(key).status for key in names] == ["accepted", "processed", "accepted", "processed"]
    assert site.row("a2").attempts == 0


def test_an_object_is_kept_before_the_handler_is_called(open_site: Open, app: Any) -> None:
    site = open_site("kept")
    assert failed(site.worker().work_off(accepted(site, "1", body='{"n": 2.10}'), LAMBDA_S)) == []
    assert site.objects() == {"1.json": b'{"n": 2.10}'}
    assert [moment.what for moment in site.row("1").timeline] == ["archived", "processed"]


def test_a_message_that_is_handed_over_twice_is_worked_off_once(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    work = accepted(site, "1")
    for _ in range(2):
        assert failed(site.worker().work_off(work, LAMBDA_S)) == []
    assert app.seen == [("1", 1)]


def test_recorded_events_that_are_none_of_ours_come_back_and_are_given_up_by_sqs(
    open_site: Open, app: Any, cases: Path
) -> None:
    site = open_site("plain")
    for name in ("sqsEvent", "snsSqsEvent", "snsSqsFifoEvent", "s3SqsEvent", "sqsDlqTriggerEvent"):
        recorded = json.loads((cases / "lambda_events" / f"{name}.json").read_text())
        ids = [record["messageId"] for record in recorded["Records"]]
        assert failed(site.worker().work_off(recorded, LAMBDA_S)) == ids
        assert failed_of_buried(site, recorded) == ids


def failed_of_buried(site: Site, recorded: dict[str, Any]) -> list[str]:
    from headgate.aws.buried import Buried

    return failed(Buried(site.rooms).bury(recorded, LAMBDA_S))


def test_answers_have_the_one_form_of_which_only_the_named_messages_come_back(
    open_site: Open, app: Any, cases: Path
) -> None:
    recorded = json.loads((cases / "partial_batch_sqs.json").read_text())
    (named,) = (case["returns"] for case in recorded if case["outcome"].startswith("only the named"))
    site = open_site("plain")
    answer = site.worker().work_off(event("hello"), LAMBDA_S)
    assert json.dumps(answer).replace("m-0", "<messageId>") == json.dumps(named)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("channel", ["kept", "ordered"])
def test_whichever_step_fails_the_message_is_worked_off_and_told_of_once(
    open_site: Open, app: Any, answered: bool, channel: str
) -> None:
    site = open_site(channel)
    worker = site.worker()
    place = "9" if channel == "ordered" else ""  # behind all others of its line
    accepted(site, "sound")
    begun = len(site.faults.asked)
    assert failed(worker.work_off(event(Where("", "sound", place).written()), LAMBDA_S)) == []
    steps = len(site.faults.asked) - begun
    assert steps >= 3
    for step in range(steps):
        key = f"at-{step}"
        accepted(site, key)
        site.faults.fail_at(step, answered=answered)
        work = event(Where("", key, place).written())
        first = failed(worker.work_off(work, LAMBDA_S))
        site.faults.mend()
        for _ in range(3):
            site.clock.advance(3_600)
            first = failed(worker.work_off(work, LAMBDA_S)) if first else first
        found = site.row(key)
        assert (found.status, first) == ("processed", [])
        whats = [moment.what for moment in found.timeline if moment.what != "lost"]
        assert [what for what in whats if what in ("processed", "failed")] == ["processed"]
        if channel == "kept":
            assert site.objects()[f"{key}.json"] == b'{"n":1}'


# ----------------------------------------------------------------------------------------------------- let in unread


@pytest.mark.parametrize(
    "more", ["plain", "&+%25 =", "\u043a\u043b\u044e\u0447 \U0001f6b0", "x" * 200_000], ids=["1", "2", "3", "4"]
)
def test_what_arrives_unread_is_stored_under_its_own_key_and_worked_off(open_site: Open, app: Any, more: str) -> None:
    site = open_site("unread")
    body = json.dumps({"id": "1", "n": 2, "more": more}, ensure_ascii=False).encode()
    assert failed(site.worker().work_off(event(arrival("r-1", body, "ann")), LAMBDA_S)) == []
    found = site.row("1")
    assert (found.status, found.body, found.principal, found.request_id) == ("processed", body, "ann", "r-1")
    assert app.seen == [("1", 1)]
    assert site.rooms.index.get("unread", "", "r-1") is None


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[]", b'{"n": 1}', b'{"id": "1", "n": "x"}', b'{"id": ""}'])
def test_what_is_bad_gets_a_row_of_its_own_and_never_the_key(open_site: Open, app: Any, body: bytes) -> None:
    site = open_site("unread")
    assert failed(site.worker().work_off(event(arrival("r-1", body)), LAMBDA_S)) == []
    found = site.row("r-1")
    assert (found.status, found.body, app.seen) == ("rejected", body, [])
    assert found.error
    assert site.rooms.queue.dead("unread", 5, None).messages == [found]
    assert failed(site.worker().work_off(event(arrival("r-2", b'{"id": "1"}')), LAMBDA_S)) == []
    assert site.row("1").status == "processed"


def test_a_workflow_may_send_what_looks_like_ours_and_it_is_nobody_elses_message(open_site: Open, app: Any) -> None:
    site = open_site("unread")
    site.accept("theirs")
    forged = [Where("", "theirs").written(), arrival("theirs", b'{"id":"1"}', "somebody else")]
    assert failed(site.worker().work_off(event(*forged, ours=False), LAMBDA_S)) == []
    for at, body in enumerate(forged):
        found = site.row(f"m-{at}")
        assert (found.body, found.principal, found.status) == (body.encode(), "", "rejected")
    assert (app.seen, site.row("theirs").status) == ([], "accepted")


def test_of_twins_the_same_is_done_once_and_another_body_is_rejected(open_site: Open, app: Any) -> None:
    site = open_site("unread")
    twins = event(arrival("r-1", b'{"id":"1"}'), arrival("r-2", b' {"id": "1"}'), arrival("r-3", b'{"id":"1","n":2}'))
    worker = site.worker()
    assert failed(worker.work_off(twins, LAMBDA_S)) == ["m-1"]  # while its twin is in work
    site.clock.advance(60)
    assert failed(worker.work_off(twins, LAMBDA_S)) == []
    assert app.seen == [("1", 1)]
    assert (site.row("1").body, site.row("r-3").status) == (b'{"id":"1"}', "rejected")
    assert site.rooms.index.get("unread", "", "r-2") is None


def test_what_arrived_and_failed_is_tried_again_by_the_same_message(open_site: Open, app: Any) -> None:
    site = open_site("unread")
    app.to_do["1"] = "fail"
    for receives, left in ((1, ["m-0"]), (2, ["m-0"]), (3, [])):
        arrived = event(arrival("r-1", b'{"id":"1"}'), receives=receives)
        assert failed(site.worker().work_off(arrived, LAMBDA_S)) == left
        site.clock.advance(60)
    assert (site.row("1").status, site.row("1").attempts) == ("failed", 3)


def test_a_rejected_message_that_was_edited_goes_on_under_its_key(open_site: Open, app: Any) -> None:
    from headgate.engine import Edited

    site = open_site("unread")
    site.worker().work_off(event(arrival("r-1", b'{"id":1}')), LAMBDA_S)
    before = site.image("r-1")
    assert site.rooms.queue.alter("unread", "", "r-1", Edited(Moment(1, "edited"), b'{"id":"1"}'))
    assert site.rooms.queue.alter("unread", "", "r-1", Redriven(Moment(2, "redriven")))
    assert forwarded(site, change(site.image("r-1"), before)) == []
    assert failed(site.worker().work_off(site.taken(), LAMBDA_S)) == []
    assert failed(site.worker().work_off(site.taken(), LAMBDA_S)) == []
    assert (site.row("1").status, site.row("r-1").status) == ("processed", "processed")
    assert app.seen == [("1", 1)]


def test_what_a_worker_has_just_stored_is_not_forwarded_to_it(open_site: Open, app: Any) -> None:
    site = open_site("unread")
    site.accept("1", body='{"id":"1"}')
    assert forwarded(site, change(site.image("1"))) == []
    assert site.taken() == {"Records": []}


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["good", "bad"])
def test_whichever_step_fails_what_arrived_is_stored_once(open_site: Open, app: Any, answered: bool, kind: str) -> None:
    site = open_site("unread")
    worker = site.worker()
    for step in range(6):
        body = json.dumps({"id": f"k-{step}"}).encode() if kind == "good" else b'{"id": 1}'
        arrived = event(arrival(f"r-{step}", body))
        site.faults.fail_at(step, answered=answered)
        left = failed(worker.work_off(arrived, LAMBDA_S))
        site.faults.mend()
        for _ in range(3):
            site.clock.advance(3_600)
            left = failed(worker.work_off(arrived, LAMBDA_S)) if left else left
        assert left == []
        found = site.row(f"k-{step}" if kind == "good" else f"r-{step}")
        assert found.status == ("processed" if kind == "good" else "rejected")


# ------------------------------------------------------------------------------------------------------------- buried


def test_what_sqs_gave_up_is_a_dead_letter_and_can_be_redriven(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    site.accept("1")
    assert site.bury(Where("", "1").written()) == []
    found = site.row("1")
    assert (found.status, found.attempts, found.timeline[-1].kind) == ("failed", 0, "Buried")
    assert site.bury(Where("", "1").written(), Where("", "gone").written()) == []
    assert site.rooms.queue.alter("plain", "", "1", Redriven(Moment(1, "redriven")))


def test_dead_letters_are_told_at_once_and_each_minute_until_they_are_gone(
    open_site: Open, app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> list[int]:
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [line["dead_letters"] for line in lines if "dead_letters" in line]

    site = open_site("plain")
    site.accept("1", "2")
    app.to_do |= {"1": "permanent", "2": "permanent"}
    site.worker().work_off(event(Where("", "1").written(), Where("", "2").written()), LAMBDA_S)
    assert told() == [2]
    site.sweep()
    assert told() == [2]
    for key in ("1", "2"):
        assert site.rooms.queue.alter("plain", "", key, Discarded(Moment(2, "discarded"), None))
    site.sweep()
    assert told() == []


def test_what_was_rejected_is_listed_with_the_dead_letters_and_sets_off_no_alarm_of_them(
    open_site: Open, app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    site = open_site("unread")
    app.to_do["1"] = "permanent"
    site.worker().work_off(event(arrival("r-1", b'{"id":1}'), arrival("r-2", b'{"id":"1"}')), LAMBDA_S)
    site.sweep()
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["dead_letters"] for line in lines if "dead_letters" in line] == [1, 1]
    assert {it.status for it in site.rooms.queue.dead("unread", 5, None).messages} == {"rejected", "failed"}


def test_what_is_in_work_or_waits_is_left_to_the_sweep(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    site.accept("1")
    site.rooms.queue.begin("plain", "", "1", 30_000)
    assert site.bury(Where("", "1").written()) == []
    assert site.row("1").status == "processing"


@pytest.mark.parametrize(("body", "key"), [(b'{"id":"1"}', "1"), (b"\xff", "r-1")])
def test_what_nobody_ever_looked_at_is_not_lost(open_site: Open, app: Any, body: bytes, key: str) -> None:
    site = open_site("unread")
    for _ in range(2):
        assert site.bury(arrival("r-1", body)) == []
    found = site.row(key)
    assert (found.status in ("failed", "rejected"), found.body) == (True, body)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("channel", ["plain", "unread"])
def test_whichever_step_fails_what_sqs_gave_up_is_one_dead_letter(
    open_site: Open, app: Any, answered: bool, channel: str
) -> None:
    site = open_site(channel)
    for step in range(3):
        key = f"b-{step}"
        if channel == "plain":
            site.accept(key)
        body = Where("", key).written() if channel == "plain" else arrival(f"r-{step}", b'{"id":"%s"}' % key.encode())
        site.faults.fail_at(step, answered=answered)
        left = site.bury(body)
        site.faults.mend()
        for _ in range(2):
            site.clock.advance(3_600)
            left = site.bury(body) if left else left
        assert left == []
        found = site.row(key)
        if found.status == "processing":  # its own lease was lost with the answer: the sweep has it worked off
            assert (channel, answered) == ("plain", True)
            continue
        assert found.status == "failed"
        assert [moment.what for moment in found.timeline].count("failed") == 1


def test_in_an_outage_it_stays_in_the_dead_letter_queue(open_site: Open, app: Any) -> None:
    site = open_site("unread")
    for body in (Where("", "1").written(), arrival("r-1", b'{"id":"1"}')):
        site.faults.fail_at(0, answered=False)
        assert site.bury(body) == ["m-0"]


# -------------------------------------------------------------------------------------------------------------- sweep


def test_a_row_that_never_got_to_its_queue_is_put_there_once_in_a_while(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    site.accept("1")
    assert site.sweep() == 0
    site.clock.advance(600)
    assert site.sweep() == 1
    taken = site.taken()
    assert [json.loads(record["body"]) for record in taken["Records"]] == [{"headgate_row": {"scope": "", "key": "1"}}]
    assert site.sweep() == 0  # it was put there a moment ago
    assert failed(site.worker().work_off(taken, LAMBDA_S)) == []
    site.clock.advance(600)
    assert site.sweep() == 0


def test_while_the_queue_is_behind_nothing_is_put_into_it(
    open_site: Open, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = open_site("plain")
    site.accept("1")
    site.post("something that waits")
    site.clock.advance(600)
    monkeypatch.setattr(site.rooms.postbox, "age_s", lambda _: None)
    assert site.sweep() == 0
    monkeypatch.setattr(site.rooms.postbox, "age_s", lambda _: 3_000.0)
    assert site.sweep() == 0
    site.clock.advance(3_000)
    assert site.sweep() == 1


def test_cloudwatch_is_asked_how_old_the_queue_is(open_site: Open, app: Any) -> None:
    site = open_site("plain")
    assert site.rooms.postbox.age_s(site.clock) is None


# ------------------------------------------------------------------------------------------------ Direct with archive=


def posted(body: bytes) -> dict[str, Any]:
    return {
        "resource": "/direct", "path": "/direct", "httpMethod": "POST", "headers": {"Content-Type": "application/json"},
        "requestContext": {"requestId": "r-1"}, "body": body.decode(),
    }  # fmt: skip


def test_a_direct_channel_keeps_the_object_before_it_answers(open_site: Open, app: Any) -> None:
    site = open_site("direct")
    assert site.serving().answer(posted(b'{"id":"1"}'), LAMBDA_S)["statusCode"] == 201
    assert site.objects() == {"1.json": b'{"id":"1"}'}
    assert site.row("1").status == "processed"
    again = site.serving().answer(posted(b'{"id":"1"}'), LAMBDA_S)
    assert again["multiValueHeaders"]["Idempotency-Replayed"] == ["true"]


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_whichever_step_fails_the_sweep_finishes_what_was_stored(open_site: Open, app: Any, answered: bool) -> None:
    site = open_site("direct")
    for step in range(4):
        serving = site.serving()
        faults = site.faults
        faults.fail_at(step, answered=answered)
        driver = serving._driver
        driver._index._clients = faults  # type: ignore[union-attr]
        driver._finishing._queue._clients = faults  # type: ignore[union-attr]
        driver._finishing.archive._clients = faults  # type: ignore[union-attr]
        status = serving.answer(posted(json.dumps({"id": f"k-{step}"}).encode()), LAMBDA_S)["statusCode"]
        faults.mend()
        assert status in (201, 409, 503)
        site.clock.advance(3_600)
        site.sweep()
        found = site.rooms.index.get("direct", "", f"k-{step}")
        if found is None:
            assert status == 503
            continue
        assert found.status == "processed"
        assert site.objects()[f"k-{step}.json"] == found.body


# ------------------------------------------------------------------------------------------------------------- entries


class Context:
    """What Lambda tells of a call."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.mark.parametrize(
    ("entry", "channel", "given", "answer"),
    [
        ("forwarder", "plain", {"Records": []}, {"batchItemFailures": []}),
        ("worker", "plain", {"Records": []}, {"batchItemFailures": []}),
        ("buried", "plain", {"Records": []}, {"batchItemFailures": []}),
        ("sweep", "plain", {}, {"swept": 0}),
        ("sweep", "direct", {}, {"swept": 0}),
    ],
)
def test_lambda_gets_in_by_the_entries(
    open_site: Open,
    app: Any,
    monkeypatch: pytest.MonkeyPatch,
    entry: str,
    channel: str,
    given: dict[str, Any],
    answer: dict[str, Any],
) -> None:
    site = open_site(channel)
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module(f"headgate.aws.lambdas.{entry}")
    made = getattr(module, f"_{entry}")
    made.cache_clear()
    try:
        assert module.handler(given, Context()) == answer
    finally:
        made.cache_clear()
