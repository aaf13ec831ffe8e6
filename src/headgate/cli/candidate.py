"""One version of the app under `dev`, in a process of its own: `python -m headgate.cli.candidate JSON`.

    supervisor                          candidate
        ── starts ─────────────────────▶ loads the app
        ◀──────────────────────── good ─ it can be served
        ── go ─────────────────────────▶ takes the state folder, opens the store
        ◀───────────────────── serving ─
        ── (end of file, or SIGTERM) ──▶ finishes what is in flight, ends

A candidate that is not good says why on stderr and ends. The words travel on a socket pair; its end of file tells
each side that the other is gone, however it went.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from headgate.cli import told
from headgate.cli.place import Place
from headgate.cli.serving import Serving, check_settings, greet, leave_when_told, serve_app, set_up_logging
from headgate.cli.turns import BROKEN, GO, GOOD, SERVING, Order
from headgate.clock import Clock, SystemClock
from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam
from headgate.gate.verify import new_api_key
from headgate.local.engine import LocalEngine
from headgate.local.keys import new_iam_key
from headgate.local.state import StateFolder

_PATIENCE_S = 3.0  # who saves a change wants to see it, and not what a handler of the old version comes to
KEY_NAME = "development"


def serve_candidate(order: Order) -> int:
    """Load, wait for the turn, serve."""
    leave_when_told()
    set_up_logging(order.log_format)
    clock = SystemClock()
    place = Place(order.target, Path(order.state))
    settings = place.state.settings(place.app, os.environ, invent=True)
    check_settings(place.app, settings, clock)
    line = socket.socket(fileno=order.line)
    sock = socket.socket(fileno=order.listening)
    line.sendall(GOOD)
    if line.recv(len(GO), socket.MSG_WAITALL) != GO:
        return 0

    def opened(engine: LocalEngine, running: Serving) -> None:
        invent_keys(place.app, engine, place.state, clock)
        threading.Thread(target=_follow, args=(line, running), daemon=True).start()
        if order.greets:
            greet(place.app, sock, place.state)
        line.sendall(SERVING)

    left_over = serve_app(
        place.app, settings, place.state, sock, clock, target=order.target, patience_s=_PATIENCE_S, opened=opened
    )
    return 0 if left_over is None else BROKEN


def _follow(line: socket.socket, running: Serving) -> None:
    """Stop when the supervisor is gone."""
    with contextlib.suppress(ConnectionResetError):  # it had not read all that we said
        while line.recv(1):
            pass
    running.stop()


def invent_keys(app: App, engine: LocalEngine, state: StateFolder, clock: Clock) -> None:
    """See to it that every ApiKey channel has a key whose text is kept in the state folder; and Iam channels one
    access key for all."""
    credentials: dict[str, Any] = state.credentials()
    known = {row.digest for row in engine.keys.api_keys()}
    for channel in app.channels:
        kept = credentials["api_keys"].get(channel.name, "")
        if isinstance(channel.auth, ApiKey) and hashlib.sha256(kept.encode()).digest() not in known:
            key, row = new_api_key(channel.name, KEY_NAME, clock.now_ms())
            engine.keys.add_api_key(row)
            credentials["api_keys"][channel.name] = key
    if regions := {channel.auth.region for channel in app.channels if isinstance(channel.auth, Iam)}:
        access = engine.keys.iam_key(credentials.get("iam", {}).get("access_key_id", ""))
        if access is None:
            access = new_iam_key("", KEY_NAME, clock.now_ms())
            engine.keys.add_iam_key(access)
        credentials["iam"] = {
            "access_key_id": access.id,
            "secret_access_key": access.secret,
            "region": regions.pop(),
            "service": Iam.service,
        }
    if credentials != state.credentials():
        state.keep_credentials(credentials)


if __name__ == "__main__":
    told(lambda: serve_candidate(Order(*json.loads(sys.argv[1]))))
