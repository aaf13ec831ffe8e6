"""The app whose queue is measured: each handled message is one line in the file that HANDLED names."""

from __future__ import annotations

import os
import time

from order import Order

from headgate import App, Public, Queued

ATTEMPTS = 3

app = App("queued")
_handled = os.open(os.environ.get("HANDLED", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.channel("/jobs", Order, key="record_id", many=True, auth=Public(), read=True, delivery=Queued(attempts=ATTEMPTS))
def work(order: Order) -> None:
    if order.record_id.startswith("poison"):
        raise ValueError(order.record_id)
    os.write(_handled, f"{order.record_id} {order.parameter_2!r} {time.time()!r}\n".encode())
