"""Sending many messages at a time: nothing is lost and nothing doubled, whatever happens to the server meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from headgate.clock import Clock
from headgate.testing.answer import Answer, Headers

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_SHOWN = 5
_TAKEN = ("stored", "replayed")
_OUTCOMES = (*_TAKEN, "refused", "unavailable", "broken", "unanswered")


@dataclass(frozen=True)
class Parcel:
    """One request: its body, what makes its headers for a URL, and for each message whether the channel should take it.

    It may be sent again: with the same body under the same key, and with credentials that are fresh.
    """

    body: bytes
    headers: Callable[[str], Mapping[str, str]]
    good: Sequence[bool]
    many: bool


@dataclass
class Tally:
    """What became of everything that was sent."""

    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    retries: int = 0
    elapsed_s: float = 0.0
    unexpected: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """How many messages were decided."""
        return self.outcomes.total()

    def surprise(self, what: str) -> None:
        """Something that should not have been; the first few are kept to be shown."""
        self.unexpected += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(what)

    def latency_ms(self, share: float) -> float:
        """The time within which this share of the requests was answered."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def summary(self) -> dict[str, Any]:
        """All of it, to be printed."""
        return {
            "messages": self.messages,
            "seconds": round(self.elapsed_s, 3),
            "messages_per_s": round(self.messages / self.elapsed_s, 1) if self.elapsed_s else 0.0,
            "outcomes": {outcome: self.outcomes[outcome] for outcome in _OUTCOMES if self.outcomes[outcome]},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "latency_ms": {
                name: round(self.latency_ms(share), 2)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
            "retries": self.retries,
            "unexpected": self.unexpected,
        }


class Sender:
    """Posts parcels to the address that `url` gives; it is asked again before each retry, since servers move.

    What is refused for the moment (connection refused or broken, 503, 429, a twin in progress) is sent again, with
    growing pauses, for `patience_s`.
    """

    def __init__(self, url: Callable[[], str], clock: Clock, patience_s: float) -> None:
        self._url = url
        self._clock = clock
        self._patience_s = patience_s
        self.tally = Tally()

    async def send_all(
        self, parcels: Iterable[Parcel], concurrency: int, rate_per_s: float | None, on_sent: Callable[[int], None]
    ) -> Tally:
        """Send every parcel, `concurrency` at a time, with at most `rate_per_s` messages a second."""
        started_s = self._clock.elapsed_s()
        due = _due(parcels, rate_per_s)

        async def work(session: aiohttp.ClientSession) -> None:
            for due_s, parcel in due:
                await asyncio.sleep(max(0.0, started_s + due_s - self._clock.elapsed_s()))
                self._count(parcel, await self.send(session, parcel))
                on_sent(len(parcel.good))

        async with _session(concurrency) as session, asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(work(session))
        self.tally.elapsed_s = self._clock.elapsed_s() - started_s
        return self.tally

    async def send_one(self, parcel: Parcel) -> Answer | str:
        """Send one parcel alone."""
        async with _session(1) as session:
            return await self.send(session, parcel)

    async def send(self, session: aiohttp.ClientSession, parcel: Parcel) -> Answer | str:
        """The answer, or in one word why there is none."""
        give_up_s = self._clock.elapsed_s() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            before_s = self._clock.elapsed_s()
            try:
                url = self._url()
                async with session.post(url, data=parcel.body, headers=parcel.headers(url)) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                answer: Answer | str = type(error).__name__
                wait_s: float | None = 0.0
            else:
                self.tally.latencies_s.append(self._clock.elapsed_s() - before_s)
                answer = Answer(response.status, Headers(response.headers.items()), body)
                wait_s = _wait_s(answer)
            if wait_s is None:
                return answer
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            next_s = max(wait_s, pause_s * random.uniform(0.5, 1))  # noqa: S311 - so that senders do not march in step
            if self._clock.elapsed_s() + next_s > give_up_s:
                return answer
            self.tally.retries += 1
            await asyncio.sleep(next_s)

    def _count(self, parcel: Parcel, answer: Answer | str) -> None:
        tally = self.tally
        if isinstance(answer, str):
            tally.outcomes["unanswered"] += len(parcel.good)
            for _ in parcel.good:
                tally.surprise(f"no answer: {answer}")
            return
        tally.statuses[answer.status] += 1
        for good, outcome in zip(parcel.good, _outcomes(parcel, answer), strict=True):
            tally.outcomes[outcome] += 1
            if good != (outcome in _TAKEN) or outcome in ("broken", "unavailable"):
                expected = "taken" if good else "refused"
                tally.surprise(f"{outcome}, but should be {expected}: {answer.status} {_shown(answer.body)}")


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), timeout=_TIMEOUT)


def _due(parcels: Iterable[Parcel], rate_per_s: float | None) -> Iterator[tuple[float, Parcel]]:
    """Each parcel, with the seconds after the start at which its turn comes."""
    sent = 0
    for parcel in parcels:
        yield (sent / rate_per_s if rate_per_s else 0.0), parcel
        sent += len(parcel.good)


def _wait_s(answer: Answer) -> float | None:
    """How long to wait at least before the same is sent again; None where the answer is the last word."""
    later = answer.headers.get("Retry-After", "")
    if answer.status in (429, 503) or later or "unavailable" in _items(answer.body):
        return float(later) if later.isdigit() else 0.0
    return None


def _outcomes(parcel: Parcel, answer: Answer) -> list[str]:
    """What became of each message of a parcel."""
    if answer.status >= 500:
        return ["broken"] * len(parcel.good)
    if parcel.many:
        items = _items(answer.body)
        if len(items) == len(parcel.good):
            return [status if status in (*_TAKEN, "unavailable") else "refused" for status in items]
    if not 200 <= answer.status < 300:
        return ["refused"] * len(parcel.good)
    replayed = answer.headers.get("Idempotency-Replayed") == "true"
    return ["replayed" if replayed else "stored"] * len(parcel.good)


def _items(body: bytes) -> list[str]:
    try:
        return [item["status"] for item in json.loads(body)["items"]] if b'"items"' in body else []
    except (ValueError, TypeError, KeyError):
        return []


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(text) <= 300 else f"{text[:300]}…"
