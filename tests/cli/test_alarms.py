"""headgate alarms"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.shell import run, running, until

APP = """
from headgate import App, Permanent, Public, Queued
from headgate import workflow as w

app = App("shop")
app.topic("alerts")


@app.channel("/orders", delivery=Queued(), auth=Public())
def work(order):
    raise Permanent("no")


app.workflow("settling", w.fail("Unlucky"))
app.channel("/sales", auth=Public(), workflow="settling")
app.schedule("nightly", "cron(0 0 1 1 ? 2199)", "settling")
"""


def test_alarms_are_listed_with_their_state_and_told_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    before = run(tmp_path, "alarms").out.splitlines()
    assert [line.split()[:3] for line in before] == [
        ["ALARM", "STATE", "SINCE"],
        ["orders-dead-letters", "OK", "-"],
        ["orders-oldest-message", "OK", "-"],
        ["orders-handler-errors", "OK", "-"],
        ["orders-errors", "OK", "-"],
        ["sales-dead-letters", "OK", "-"],
        ["sales-errors", "OK", "-"],
        ["settling-failures", "OK", "-"],
    ]

    def is_off() -> bool:
        told = json.loads(run(tmp_path, "alarms", "--json").out)["alarms"]
        return [one["state"] for one in told] == ["ALARM", "OK", "OK", "OK", "ALARM", "OK", "ALARM"]

    with running(tmp_path, "serve") as server:
        server.post("/orders", "{}")
        server.post("/sales", "{}")
        until(is_off, "the alarms have gone off")
        server.says('"ALARM: orders-dead-letters"')
        server.says('"ALARM: sales-dead-letters"')
        server.says('"ALARM: settling-failures"')
    assert is_off(), "it is remembered"
