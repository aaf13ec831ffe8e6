"""Headgate's side of the benchmark: the same order, one by one and in batches."""

from __future__ import annotations

from order import Order

from headgate import App, Public

app = App("benchmark")
app.channel("/single", Order, key="record_id", auth=Public())
app.channel("/batch", Order, key="record_id", many=True, auth=Public())
