"""A server that is killed again and again, as seen from outside: by who sends to it, and in its store."""

from __future__ import annotations

import http.client
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.serving import ask

PATIENCE_S = 300.0
"""A slow machine may take so long to work everything off."""


def until_yes(port: int, path: str, body: bytes, is_over: threading.Event) -> bool:
    """Post until the answer is 202, whatever happens in between; False where it is over before."""
    while not is_over.is_set():
        try:
            answer = ask(port, "POST", path, body, {"Content-Type": "application/json"})
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            continue
        if answer.status == 202:
            return True
        assert answer.status == 503, answer
    return False


def rows(state: Path, query: str) -> list[Any]:
    """What a query finds in the store, also while it is served."""
    store = sqlite3.connect(f"file:{state}/messages.sqlite3?mode=ro", uri=True, timeout=PATIENCE_S)
    with closing(store):
        return store.execute(query).fetchall()


def statuses(state: Path) -> Counter[str]:
    """How many messages have which status."""
    return Counter(dict(rows(state, "SELECT status, count(*) FROM work GROUP BY status")))


def until(is_so: Callable[[], bool], otherwise: Callable[[], object]) -> None:
    """Wait until it is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, otherwise()
        time.sleep(0.05)
