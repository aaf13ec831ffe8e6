"""P1 and P2 against kill -9: no acknowledged message is lost, none is stored twice."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.outside import PATIENCE_S, rows, until
from tests.serving import Served, ask, free_port, fronts_of, kill, start

APP = Path(__file__).with_name("app.py")
CLIENTS = 8
# CI kills at least this often with requests in flight; HEADGATE_KILLS=50 is the long form.
KILLS = int(os.environ.get("HEADGATE_KILLS", "6"))
DEADLINE_S = PATIENCE_S + 6.0 * KILLS


class Clients:
    """Eight senders, each posting message after message until it is told yes, whatever happens in between."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.acknowledged: dict[str, bytes] = {}
        self.sent: set[str] = set()
        self.in_flight = 0
        self.surprises: list[str] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number, seed)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int, seed: int) -> None:
        dice = random.Random(seed * 100 + number)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            orders = [
                {"record_id": f"{number}-{turn}-{at}", "amount": dice.randrange(10**6)}
                for at in range(dice.choice((1, 1, 20)))
            ]
            if len(orders) == 1:
                self._until_yes("/orders", json.dumps(orders[0]).encode(), orders)
            else:
                self._until_yes("/batches", json.dumps(orders).encode(), orders)

    def _until_yes(self, path: str, body: bytes, orders: list[dict[str, object]]) -> None:
        with self._lock:
            self.sent.update(str(order["record_id"]) for order in orders)
        while not self._stop.is_set():
            with self._lock:
                self.in_flight += 1
            try:
                answer = ask(self.port, "POST", path, body, {"Content-Type": "application/json"})
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
                continue
            finally:
                with self._lock:
                    self.in_flight -= 1
            if answer.status == 201:
                with self._lock:
                    self.acknowledged.update({str(order["record_id"]): json.dumps(order).encode() for order in orders})
                return
            if answer.status != 503 and b"in_progress" not in answer.body:
                self.surprises.append(f"{answer.status} {answer.body!r}")
                return


def test_no_acknowledged_message_is_lost_and_none_is_stored_twice(tmp_path: Path, told: Callable[[str], None]) -> None:
    port = free_port()
    state = tmp_path / "state"
    dice = random.Random(1)
    served = start(APP, state, port)
    clients = Clients(port, seed=1)
    kills_in_flight = kills = 0
    end_s = time.monotonic() + DEADLINE_S
    try:
        while kills_in_flight < KILLS and time.monotonic() < end_s:
            time.sleep(dice.uniform(0.05, 0.6))
            in_flight = clients.in_flight
            kill(served)
            kills += 1
            kills_in_flight += in_flight > 0
            served = start(APP, state, port)
    finally:
        clients.stop()
        told(
            f"{kills_in_flight} of {kills} kills had requests in flight; "
            f"{len(clients.acknowledged)} messages acknowledged"
        )
        _check(served, clients)
        kill(served)
    assert kills_in_flight >= KILLS


def test_fronts_and_the_process_behind_them_may_be_killed_at_any_moment(
    tmp_path: Path, told: Callable[[str], None]
) -> None:
    port = free_port()
    state = tmp_path / "state"
    dice = random.Random(3)
    served = start(APP, state, port, processes=2)
    clients = Clients(port, seed=3)
    fronts_killed = kills = 0
    try:
        for kill_all in (False, False, True, False):
            time.sleep(dice.uniform(0.2, 0.5))
            if kill_all:
                served.process.kill()  # and not its fronts, which have to notice
                served.process.wait()
                served = start(APP, state, port, processes=2)
                kills += 1
            else:
                os.kill(dice.choice(some_fronts_of(served)), signal.SIGKILL)
                fronts_killed += 1
        before = len(clients.acknowledged)
        until(lambda: len(clients.acknowledged) > before, lambda: "nothing more is acknowledged")
    finally:
        clients.stop()
        told(
            f"{fronts_killed} fronts and {kills} main processes killed; "
            f"{len(clients.acknowledged)} messages acknowledged"
        )
        _check(served, clients)
        kill(served)
    assert (fronts_killed, kills) == (3, 1)


def some_fronts_of(served: Served) -> list[int]:
    """The fronts that run, once there are any."""
    until(lambda: bool(fronts_of(served)), lambda: "there are no fronts")
    return fronts_of(served)


def _check(served: Served, clients: Clients) -> None:
    assert clients.surprises == []
    assert clients.acknowledged
    for key in random.Random(2).sample(sorted(clients.acknowledged), min(200, len(clients.acknowledged))):
        channel = "/orders" if served.ask("GET", f"/orders/{key}").status == 200 else "/batches"
        assert served.ask("GET", f"{channel}/{key}").json()["body"] == json.loads(clients.acknowledged[key])
    kill(served)
    assert rows(served.state, "PRAGMA integrity_check") == [("ok",)]
    found = rows(served.state, "SELECT key, body FROM message")
    stored = dict(found)
    assert len(stored) == len(found), "a message is stored twice"
    assert stored.keys() <= clients.sent
    missing = clients.acknowledged.keys() - stored.keys()
    assert not missing, f"{len(missing)} acknowledged messages are lost"
    assert all(stored[key] == body for key, body in clients.acknowledged.items())
