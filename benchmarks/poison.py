"""How much poison messages harm the others: a steady load, with and without, in turn."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from handled import WARM_S, Site, post, serving, session
from queued import ATTEMPTS

RATE_PER_S = 500
SHARE = 0.01
GOAL = 2.0


class Steady(NamedTuple):
    """A run at a steady rate; what the healthy messages took from being sent to being handled."""

    healthy: int
    poison: int
    p50_ms: float
    p99_ms: float
    most_ms: float


async def send_steadily(url: str, seconds: float, poison: float, name: str) -> int:
    """One message a request, on time whatever the answers take; how many were poison."""
    bad, every, sent = 0, round(1 / poison) if poison else 0, []
    async with session() as open_session:
        began = time.monotonic()
        for n in range(round(seconds * RATE_PER_S)):
            is_bad = bool(every) and n % every == 0
            bad += is_bad
            await asyncio.sleep(max(0.0, began + n / RATE_PER_S - time.monotonic()))
            sent.append(asyncio.create_task(post(open_session, url, f"{'poison' if is_bad else name}-{n}")))
        await asyncio.gather(*sent)
    return bad


def steady(folder: Path, seconds: float, poison: float) -> Steady:
    """A run from an empty store and a fresh process, warmed up."""
    with serving(folder) as site:
        asyncio.run(send_steadily(site.url, WARM_S, 0, "warm"))
        site.wait_until_idle()
        bad = asyncio.run(send_steadily(site.url, seconds, poison, "good"))
        site.wait_until_idle()
        check_dead(site, bad)
        waits_ms = [1000 * (one.done_s - one.sent_s) for one in site.handled("good")]
    assert len(waits_ms) == round(seconds * RATE_PER_S) - bad
    cuts = statistics.quantiles(waits_ms, n=100)
    return Steady(len(waits_ms), bad, cuts[49], cuts[98], max(waits_ms))


def check_dead(site: Site, bad: int) -> None:
    """Every poison message is dead after exactly its attempts, with its reason and its bytes."""
    rows = site.ask(
        "SELECT work.attempts, work.timeline, message.body, message.key FROM work JOIN message USING (seq)"
        " WHERE work.status = 'failed'"
    )
    assert len(rows) == bad, (len(rows), bad)
    for attempts, timeline, body, key in rows:
        kinds = [(moment[1], moment[5]) for moment in json.loads(timeline)]
        assert attempts == ATTEMPTS
        assert kinds == [("retried", "ValueError")] * (ATTEMPTS - 1) + [("failed", "ValueError")]
        assert json.loads(body)["record_id"] == key
        assert body.startswith(b'{"record_id": "poison-')
