"""Executions that messages start, as the room of starts knows them."""

from __future__ import annotations

from pathlib import Path

from headgate import App, Public
from headgate.clock import ManualClock
from headgate.local.starts import Starts
from tests.local.store import opened


def test_once_closed_nobody_waits_for_ends_that_nobody_writes(tmp_path: Path) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public())
    with opened(tmp_path, ManualClock()) as store:
        starts = Starts(app, store.queue, store.clock)
        starts.settle()
        starts.close()
        starts.settle()
