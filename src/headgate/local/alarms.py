"""Alarms on one machine: looked at every few seconds, and told to every topic that wants to hear of them.

What state an alarm is in lies in the store, and is changed by the same write that keeps the notice of it: a restart
tells nothing twice, and swallows nothing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.describe.alarms import Alarm, alarms
from headgate.engine import Notice
from headgate.errors import Unavailable
from headgate.gate.observe import Observer, site

if TYPE_CHECKING:
    from headgate.local.queue import LocalQueue
    from headgate.local.stream import LocalStream
    from headgate.local.topics import LocalTopics

log = logging.getLogger("headgate.alarms")

SCHEMA = """CREATE TABLE alarm (
    name TEXT PRIMARY KEY,
    is_off INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    value REAL NOT NULL
) WITHOUT ROWID"""

_EVERY_S = 5.0
_WORKED = ("processed", "retried", "failed", "rejected")

Counts = Counter[tuple[str, str]]


class Standing(NamedTuple):
    """How an alarm is: `ALARM` when it has gone off, else `OK`, since then; and the value that it changed with."""

    state: str
    since_ms: int
    value: float


def standings(read_with: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> dict[str, Standing]:
    """Of the alarms that ever changed, by name."""
    rows = read_with(lambda reader: reader.execute("SELECT name, is_off, since_ms, value FROM alarm").fetchall())
    return {name: Standing("ALARM" if is_off else "OK", since_ms, value) for name, is_off, since_ms, value in rows}


class LocalAlarms:
    """`look` once, or from `start` on every few seconds, until `close`. `failures` counts executions that ended badly,
    by workflow; somebody else adds to it."""

    def __init__(
        self,
        app: App,
        queue: LocalQueue,
        stream: LocalStream,
        observer: Observer,
        topics: LocalTopics,
        clock: Clock,
        known: Mapping[str, Standing],
        failures: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._alarms = alarms(app)
        self._topics = topics
        self._told = [topic.name for topic in app.topics if topic.alarms]
        self._queue = queue
        self._stream = stream
        self._observer = observer
        self._failures = failures
        self._clock = clock
        self._off = {name for name, standing in known.items() if standing.state == "ALARM"}
        self._samples: deque[tuple[float, Counts]] = deque([(clock.elapsed_s(), self._counts())])
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-alarms", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Tell of every alarm that has gone off, or is over. Raises Unavailable; what was not told is told later."""
        self._sample()
        for alarm in self._alarms:
            value = self._value(alarm)
            if (value >= alarm.threshold) != (alarm.name in self._off):
                self._change(alarm, value)

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            try:
                self.look()
            except Unavailable:
                log.warning("alarms could not be looked at, or told of; they are looked at again soon")
            except Exception as error:  # noqa: BLE001 - the thread must live
                log.error("alarms could not be looked at where=%s", site(error))

    def _change(self, alarm: Alarm, value: float) -> None:
        goes_off = value >= alarm.threshold
        values = (alarm.name, goes_off, self._clock.now_ms(), value)
        state = "ALARM" if goes_off else "OK"
        notice = Notice(f"{state}: {alarm.name}", _text(alarm, value, goes_off=goes_off), _attributes(alarm, state))
        log.log(logging.WARNING if goes_off else logging.INFO, "%s alarm=%s value=%g", state, alarm.name, value)
        self._topics.publish_all(
            self._told, notice, lambda store: store.execute("INSERT OR REPLACE INTO alarm VALUES (?, ?, ?, ?)", values)
        )
        (self._off.add if goes_off else self._off.discard)(alarm.name)

    # ------------------------------------------------------------------------------------------------------ the values

    def _value(self, alarm: Alarm) -> float:
        match alarm.metric:
            case "dead_letters":
                return self._queue.failed(alarm.channel)
            case "oldest_s":
                return self._queue.overdue_ms(alarm.channel) / 1000
            case "lag_s":
                progress = self._stream.progress(alarm.channel, alarm.consumer)
                return max((one.lag_ms for one in progress if one.lane.replay is None), default=0) / 1000
            case "handler_errors":
                since = self._since(alarm)
                return since[alarm.channel, "retried"] + since[alarm.channel, "failed"]
            case "rejected_share":
                since = self._since(alarm)
                return _share(since[alarm.channel, "rejected"], [since[alarm.channel, what] for what in _WORKED])
            case "error_share":
                since = self._since(alarm)
                faults = since[alarm.channel, "faults"]
                return _share(faults, [faults, since[alarm.channel, "answered"]])
            case "failures":
                return self._since(alarm)[alarm.workflow, "executions"]

    def _counts(self) -> Counts:
        counts: Counts = Counter()
        for (channel, what), count in list(self._observer.worked.items()):
            counts[channel, what] += count
        for (channel, _), count in list(self._observer.accepted.items()):
            counts[channel, "answered"] += count
        for (channel, _, _), count in list(self._observer.refused.items()):
            counts[channel, "answered"] += count
        for (channel, _, _), count in list(self._observer.faulted.items()):
            counts[channel, "faults"] += count
        for workflow, count in list(self._failures.items()):
            counts[workflow, "executions"] = count
        return counts

    def _sample(self) -> None:
        now_s = self._clock.elapsed_s()
        self._samples.append((now_s, self._counts()))
        longest_s = max((alarm.period_s for alarm in self._alarms), default=0)
        while len(self._samples) > 1 and self._samples[1][0] <= now_s - longest_s:
            self._samples.popleft()

    def _since(self, alarm: Alarm) -> Counts:
        """What was counted within the alarm's period."""
        now_s, now = self._samples[-1]
        before = self._samples[0][1]
        for at_s, counts in self._samples:
            if at_s > now_s - alarm.period_s:
                break
            before = counts
        return Counter({what: count - before[what] for what, count in now.items()})


def _share(part: float, parts: Sequence[float]) -> float:
    return part / sum(parts) if part else 0.0


def _text(alarm: Alarm, value: float, *, goes_off: bool) -> str:
    shown = f"{value:.0%}" if alarm.is_share else f"{value:g}"
    limit = f"{alarm.threshold:.0%}" if alarm.is_share else f"{alarm.threshold:g}"
    if not goes_off:
        return f"It is over. The value is {shown}; the alarm goes off at {limit}."
    told = f"{alarm.sentence} The value is {shown}; the alarm goes off at {limit}."
    match alarm.metric:
        case "dead_letters":
            return f"{told} `headgate dead list {alarm.channel}` says why."
        case "failures":
            return f"{told} `headgate runs list {alarm.workflow}` says which."
    return told


def _attributes(alarm: Alarm, state: str) -> dict[str, str]:
    about = {"channel": alarm.channel, "consumer": alarm.consumer, "workflow": alarm.workflow}
    named = {what: name for what, name in about.items() if name}
    return {"alarm": alarm.name, "state": state, "metric": alarm.metric, **named}
