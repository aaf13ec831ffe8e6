"""Clients that never hear an answer at first: each call is carried out, its answer is lost, and it is made again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from headgate.aws.clients import Clients, Declined
from headgate.clock import SystemClock


class Deaf(Clients):
    """What the SDK does after each lost answer, for every call of them all; those in `heard` (operations) aside."""

    def __init__(self, clients: Clients, *heard: str) -> None:
        super().__init__(SystemClock())
        self._clients = clients
        self._heard = heard

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        if operation not in self._heard:
            with suppress(Declined):
                self._clients.call(service, operation, **parameters)
        return self._clients.call(service, operation, **parameters)
