"""One attempt: what the handler is given, and what is made of its answer."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from headgate import App, Done, Failed, Message, Permanent, Public, Queued, Retry, limits
from headgate.clock import ManualClock
from headgate.gate.handle import BROKE, GIVEN_UP, Handling, Report
from headgate.testing.contract.queue import queued


class Order(BaseModel):
    id: str
    amount: float = 0
    seen_at: str | None = None


BODY = '{"id":"1","amount":2.10}'


def handling(function: Callable[..., Any], model: Any = Order, **options: Any) -> Handling:
    channel = App("shop").channel("/orders", model, auth=Public(), delivery=Queued(), **options)
    channel(function)
    return Handling(channel, channel.handlers[0], ManualClock())


def report_on(function: Callable[..., Any], body: str = BODY, model: Any = Order, **options: Any) -> Report:
    """What is reported of one attempt."""
    made = handling(function, model, **options)
    (report,) = made.handle([queued("1", body)._replace(attempts=2)])
    made.close()
    return report


def test_the_handler_gets_the_model_and_if_it_wants_the_message() -> None:
    seen: list[Any] = []
    assert report_on(seen.append).ending == "done"

    def both(order: Order, message: Message) -> None:
        seen.append((order.id, message.id, message.attempt, message.received_at, message.deadline, message.principal))

    assert report_on(both, timeout_s=7).ending == "done"
    deadline = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
    assert seen == [Order(id="1", amount=2.1), ("1", "1", 2, datetime(2026, 1, 1, tzinfo=UTC), deadline, "alice")]


def test_without_a_model_it_gets_what_json_says() -> None:
    seen: list[Any] = []
    report_on(seen.append, '[true, 2, "\U0001f6b0"]', model=None)
    assert seen == [[True, 2, "\U0001f6b0"]]


def test_a_handler_may_be_async() -> None:
    async def handle(order: Order) -> None:
        raise Permanent(f"not {order.id}")

    assert report_on(handle)[:3] == ("failed", 0, "not 1")


def returns(value: Any) -> Callable[[Order], Any]:
    return lambda _: value


def raises(error: BaseException) -> Callable[[Order], Any]:
    def handle(_: Order) -> Any:
        raise error

    return handle


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there are no words")


@pytest.mark.parametrize(
    ("handler", "ending", "detail", "kind"),
    [
        (returns(None), "done", "", ""),
        (returns(Done()), "done", "", ""),
        (returns({"any": "thing"}), "done", "", ""),
        (returns(Failed("too old")), "failed", "too old", "Failed"),
        (returns(Permanent("too old")), "failed", "too old", "Permanent"),
        (returns(Permanent), "failed", GIVEN_UP, "Permanent"),
        (returns(Retry()), "retry", "The handler asked for another attempt.", "Retry"),
        (returns(Retry), "retry", "The handler asked for another attempt.", "Retry"),
        (raises(Permanent("too \ud800 old")), "failed", "too \\ud800 old", "Permanent"),
        (raises(Permanent()), "failed", GIVEN_UP, "Permanent"),
        (raises(Retry(5)), "retry", "The handler asked for another attempt.", "Retry"),
        (raises(OSError("secret")), "retry", BROKE, "OSError"),
        (raises(SystemExit(3)), "retry", BROKE, "SystemExit"),
        (raises(StopIteration()), "retry", BROKE, "StopIteration"),
        (raises(KeyboardInterrupt()), "retry", BROKE, "KeyboardInterrupt"),
        (raises(Retry("soon")), "retry", BROKE, "BadAnswer"),  # type: ignore[arg-type]
        (raises(Retry(float("nan"))), "retry", BROKE, "BadAnswer"),
        (returns(Failed(Odd())), "retry", BROKE, "RuntimeError"),  # type: ignore[arg-type]
        (raises(Odd()), "retry", BROKE, "Odd"),
    ],
)
def test_what_a_handler_returns_or_raises_is_its_verdict(
    handler: Callable[[Order], Any], ending: str, detail: str, kind: str
) -> None:
    report = report_on(handler)
    assert (report.ending, report.detail, report.kind) == (ending, detail, kind)


def test_a_retry_may_say_when() -> None:
    assert report_on(raises(Retry(2.5))).delay_s == 2.5
    assert report_on(raises(Retry())).delay_s is None
    assert report_on(raises(Retry(-1))).delay_s == 0
    assert report_on(raises(Retry(float("inf")))).delay_s == limits.RETRY_DELAY.value
    assert "Retry('soon')" in report_on(raises(Retry("soon"))).told  # type: ignore[arg-type]


def test_a_traceback_begins_with_the_users_code_and_is_not_for_senders() -> None:
    report = report_on(raises(ValueError("4711")))
    assert __file__ in report.told.splitlines()[0]
    assert report.told.endswith("ValueError: 4711\n")
    assert "4711" not in report.detail + report.kind + report.where
    assert report.where.startswith("test_handle.py:")


@pytest.mark.parametrize("error", [SystemExit("no settings"), asyncio.CancelledError("no settings")])
def test_what_would_end_a_process_or_a_loop_is_told_like_any_other_exception(error: BaseException) -> None:
    async def later(_: Order) -> None:
        raise error

    for handler in (raises(error), later):
        report = report_on(handler)
        assert __file__ in report.told.splitlines()[0]
        assert report.told.endswith(f"{report.kind}: no settings\n")


def test_a_process_without_memory_or_files_says_so() -> None:
    spent = [MemoryError(), OSError(errno.EMFILE, "Too many open files")]
    assert [report_on(raises(error)).spent for error in (*spent, OSError(errno.ENOENT, "none"))] == [True, True, False]


def test_what_somebody_else_has_put_into_a_stream_fails_with_a_reason_too() -> None:
    report = report_on(raises(AssertionError()), "hello")
    assert (report.ending, report.kind) == ("failed", "Unfit")
    assert report.detail.endswith("it is no JSON.")


def test_a_message_that_fits_no_more_fails_with_reason_and_place_and_the_handler_is_not_called() -> None:
    seen: list[Any] = []
    report = report_on(seen.append, '{"id":"1","amount":"much"}')
    assert (report.ending, report.kind, report.pointer) == ("failed", "Unfit", "/amount")
    assert report.detail == (
        "The message does not fit the channel's model any more at /amount: Input should be a valid number."
    )
    assert seen == []


def test_stamps_are_seen_but_not_stored() -> None:
    seen: list[Any] = []
    stamp = {"seen_at": lambda message: message.received_at.isoformat(), "nobody": 1}
    report_on(seen.append, stamp=stamp)
    assert seen.pop().seen_at == "2026-01-01T00:00:00+00:00"
    report_on(seen.append, "{ }", model=None, stamp={"a": 1, "b": lambda: "x"})
    assert seen.pop() == {"a": 1, "b": "x"}
    report_on(seen.append, "[1]", model=None, stamp={"a": 1})
    assert seen.pop() == [1]


def test_a_stamp_the_model_does_not_know_harms_no_strict_model() -> None:
    class Strict(Order):
        model_config = ConfigDict(extra="forbid")

    assert report_on(returns(None), model=Strict, stamp={"nobody": 1}).ending == "done"


def reports_on(answer: Any, count: int = 3) -> list[Report]:
    made = handling(returns(answer) if not callable(answer) else answer, batch=10)
    return made.handle([queued(str(n), BODY) for n in range(count)])


def test_a_handler_of_lists_answers_for_each() -> None:
    assert [report.ending for report in reports_on(None)] == ["done"] * 3
    endings = [report.ending for report in reports_on([None, Retry(1), Failed("x")])]
    assert endings == ["done", "retry", "failed"]


def test_a_list_that_raises_permanent_fails_nobody_for_another() -> None:
    def handle(orders: list[Order]) -> None:
        if any(order.amount < 0 for order in orders):
            raise Permanent("negative amount")

    made = handling(handle, batch=10)
    good, bad = queued("1", BODY), queued("2", '{"id":"2","amount":-1}')
    assert [(report.ending, report.detail) for report in made.handle([good, bad])] == [("retry", BROKE)] * 2
    assert [(report.ending, report.detail) for report in made.handle([bad])] == [("failed", "negative amount")]


@pytest.mark.parametrize("answer", [[None], [None] * 4, {}, 0, "abc", [1, 2, 3]])
def test_a_list_that_does_not_answer_for_each_is_a_mistake_and_nothing_is_done(answer: Any) -> None:
    assert {(report.ending, report.kind) for report in reports_on(answer)} == {("retry", "BadAnswer")}


def test_a_handler_of_lists_gets_the_messages_too_and_none_that_is_unfit() -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def handle(orders: list[Order], messages: list[Message]) -> list[Any]:
        seen.append(([order.id for order in orders], [message.id for message in messages]))
        return [Failed("no"), None]

    made = handling(handle, batch=10)
    bad, good, other = queued("0", "{}"), queued("1", '{"id":"a"}'), queued("2", '{"id":"b"}')
    endings = [report.ending for report in made.handle([bad, good, other])]
    assert endings == ["failed", "failed", "done"]
    assert seen == [(["a", "b"], ["1", "2"])]
    assert sys.exc_info() == (None, None, None)


def test_what_is_told_can_be_stored_whatever_it_is() -> None:
    for told in (ValueError("\ud800" * 5_000), Permanent("\ud800" + "x" * 10_000)):
        report = report_on(raises(told))
        assert max(map(len, (report.detail, report.told, report.kind))) <= 2_000
        "".join((report.detail, report.told, report.kind, report.pointer)).encode()


def test_a_deep_recursion_is_a_failure_like_any_other() -> None:
    def handle(order: Order) -> None:
        handle(order)

    report = report_on(handle)
    assert (report.ending, report.kind) == ("retry", "RecursionError")
