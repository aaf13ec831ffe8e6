"""P5 where it is hardest: a message whose handler takes the whole server down, each time, is dead after exactly its
attempts, on a queue and on a stream; all others are handled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.crash.outside import PATIENCE_S, rows
from tests.crash.poisoned import ATTEMPTS
from tests.crash.test_handled import kill_all
from tests.serving import Served, free_port, start

APP = Path(__file__).with_name("poisoned.py")
MESSAGES, POISON = 12, 5
STARTS = 20


def letter(state: Path) -> tuple[str, int, bytes, list[list[object]]] | None:
    """The key of the dead letter, its attempts, its bytes and its timeline."""
    found = rows(
        state,
        "SELECT key, work.attempts, message.body, timeline FROM work JOIN message USING (seq)"
        " WHERE work.status = 'failed'",
    )
    if not found:
        return None
    ((key, attempts, body, timeline),) = found
    return key, attempts, body, json.loads(timeline)


@pytest.mark.parametrize("channel", ["jobs", "events", "singles"])
def test_a_message_that_takes_everything_down_is_dead_after_exactly_its_attempts(
    channel: str, tmp_path: Path, told: Callable[[str], None]
) -> None:
    state, effects, port = tmp_path / "state", tmp_path / "effects", free_port()

    def begin() -> Served | None:
        with suppress(AssertionError):  # it may be down again before it was seen to be up
            return start(APP, state, port, env={"EFFECTS": str(effects)})
        return None

    def is_over() -> bool:
        return letter(state) is not None and {line.split()[1] for line in effects.read_text().splitlines()} == all_ids

    sent = [{"id": f"m-{n}", "poison": n == POISON} for n in range(MESSAGES)]
    all_ids = {str(one["id"]) for one in sent}
    served, starts = begin(), 1
    assert served is not None
    with suppress(OSError, HTTPException):  # the answer may not get out any more
        assert served.post(f"/{channel}", sent).status == 202
    until = time.monotonic() + PATIENCE_S
    while not is_over():
        assert time.monotonic() < until, (letter(state), effects.read_text())
        if served is None or served.process.poll() is not None:
            assert starts < STARTS
            served, starts = begin(), starts + 1
        time.sleep(0.05)
    assert served is not None
    kill_all(served)

    found = letter(state)
    assert found is not None
    key, attempts, body, timeline = found
    assert (key, attempts, json.loads(body)) == (f"m-{POISON}", ATTEMPTS, sent[POISON])
    assert [moment[2] for moment in timeline] == [1, 2, 3, 3][: len(timeline)]
    assert {moment[5] for moment in timeline} == {"Lost"}
    handed = [line for line in effects.read_text().splitlines() if line.startswith(f"{channel} m-{POISON} ")]
    assert len(handed) == ATTEMPTS or channel == "events"
    told(f"{channel}: dead after {attempts} attempts, {starts} starts, handed over {len(handed)} times")
