"""The app that is killed while it runs workflows: each message starts one, which notes that it was there."""

import os
from pathlib import Path

from headgate import App, Public, Start
from headgate import workflow as w

app = App("crash")


@app.task
def note(order: dict[str, str]) -> dict[str, str]:
    """Leave a line behind, in one write."""
    line = os.open(Path(os.environ["NOTES"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(line, f"{order['id']}\n".encode())
    os.close(line)
    return order


ledger = app.table("ledger", key="id")
count = w.update(ledger, {"id": "$.id"}, add={"runs": 1})
app.workflow("orders", w.chain(w.give({"id": "$.id"}), w.wait(1), count, w.task(note), w.wait(1)))
app.workflow("quick", w.chain(w.wait(1), count), express=True)
app.workflow("lots", w.for_each("$", w.chain(w.wait(1), count)))
app.channel("/orders", key="id", auth=Public(), read=True, workflow="orders")
app.channel("/quick", key="id", auth=Public(), read=True, workflow="quick")
app.channel("/lots", key="id", many=True, auth=Public(), read=True, workflow=Start("lots", per="batch"))
