"""What has to follow a stored message before its sender is answered."""

from __future__ import annotations

from typing import Any

from headgate import App, Archive, Public
from headgate import workflow as w
from headgate.clock import ManualClock
from headgate.engine import Execution, Lease, Outcome, Settlement
from headgate.gate.effects import Begin, Effect, Keep, SettleAll, StartAll, Started
from headgate.gate.finish import ended, finish
from headgate.message import Message
from tests.gate.driver import driven


class RunningClock(ManualClock):
    """Time goes on with every look at it."""

    def now_ms(self) -> int:
        self.advance(0.001)
        return super().now_ms()


def test_an_execution_that_is_found_to_be_over_is_told_to_have_started_before_it_ended() -> None:
    """As after a crash between its start and its note: it ran meanwhile."""
    app, clock = App("shop"), RunningClock()
    channel = app.channel(
        "/orders", key="id", auth=Public(), archive=Archive("{id}.json"), workflow=app.workflow("orders", w.succeed())
    )
    message = Message("orders", "", "1", b'{"id": "1"}', clock.now_ms(), "", "request", "", "accepted", None)
    failed = Execution("arn", "orders", "1", "FAILED", "{}", None, "Broken", "", clock.now_ms(), clock.now_ms(), 0)
    written: list[Settlement] = []

    def carry_out(effect: Effect) -> Any:
        match effect:
            case Begin():
                return [Lease(message, "token", 1)]
            case Keep():
                return ["1.json"]
            case StartAll():
                return [Started(failed.id, ended(channel, failed, clock.now_ms()))]
            case SettleAll(settled):
                written.extend(settlement for _, settlement in settled)
                return [True]
        raise AssertionError(f"there is no need of {effect}")

    driven(finish(channel, clock, [message], [Outcome("stored")]), carry_out)
    (settlement,) = written
    assert [moment.what for moment in settlement.moments] == ["archived", "started", "failed"]
    times = [moment.at_ms for moment in settlement.moments]
    assert times == sorted(times)
