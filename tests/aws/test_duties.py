"""What queues, streams and the functions behind the gate are given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headgate import App, Public, Queued, Stream
from headgate.aws.duties import consuming, working
from headgate.declare.channel import Channel


def channel(*, handled: bool = True, **options: Any) -> Channel:
    made = App("shop").channel("/orders", key="id", auth=Public(), **options)
    if handled:
        made(lambda _: None)
    return made


@pytest.mark.parametrize(("attempts", "receives"), [(1, 5), (2, 5), (3, 6), (100, 103)])
def test_sqs_gives_a_message_up_later_than_its_row_does(attempts: int, receives: int) -> None:
    delivery = Queued(attempts=attempts)
    assert working(channel(delivery=delivery), delivery).receives == receives


def test_a_function_has_time_for_each_message_and_its_queue_waits_six_times_as_long() -> None:
    delivery = Queued()
    found = working(channel(delivery=delivery, timeout_s=10, batch=5), delivery)
    assert (found.batch, found.timeout_s, found.visibility_s) == (5, 80, 480)
    assert working(channel(delivery=delivery, timeout_s=900), delivery).timeout_s == 900


def test_without_a_handler_messages_are_worked_off_ten_at_a_time() -> None:
    delivery = Queued()
    assert working(channel(delivery=delivery, handled=False), delivery).batch == 10


def test_what_is_ordered_is_a_fifo_queue_with_as_many_workers_as_are_declared() -> None:
    delivery = Queued(order_by="customer")
    found = working(channel(delivery=delivery, concurrency=7), delivery)
    assert (found.fifo, found.concurrency) == (True, 7)
    plain = Queued()
    assert working(channel(delivery=plain, concurrency=1), plain).concurrency == 2  # SQS takes no less


def test_a_consumer_is_handed_what_it_declares() -> None:
    delivery = Stream(attempts=3, most_age=timedelta(hours=1))
    assert consuming(channel(delivery=delivery, batch=10, timeout_s=3), delivery) == (10, 60, 13, 3600)
