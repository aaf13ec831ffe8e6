"""What a function tells CloudWatch, on its standard output: log lines as JSON, and counts in the embedded format.

The counts are those of `gate/observe.py`, under the names that the local engine has for Prometheus. Neither bodies nor
tokens are in any of it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from headgate.clock import Clock, isoformat
from headgate.gate.observe import Observer

NAMESPACE = "headgate"
DEAD_LETTERS = "dead_letters"
"""The metric of a channel's dead letters: not a count of what happened, but of what there is. None means that there is
none."""

_NAMED = re.compile(r"\s*\b(\w+)=%[sd]")

Counts = Mapping[tuple[str, tuple[tuple[str, str], ...]], int]


class JsonLines(logging.Formatter):
    """A record as one JSON object. What our templates name (`refused channel=%s`) becomes a member of that name."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        named = _NAMED.findall(str(record.msg))
        values = record.args if isinstance(record.args, tuple) else ()
        told = dict(zip(named, values, strict=True)) if named and len(named) == len(values) else {}
        return json.dumps(
            {
                "timestamp": isoformat(round(record.created * 1000)),
                "level": record.levelname,
                "logger": record.name,
                "message": _NAMED.sub("", str(record.msg)) if told else record.getMessage(),
                **self._facts,
                **told,
            },
            default=str,
        )


def log_as_json(facts: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Write headgate's own log so, with `facts` in every line. What the app logs goes the way Lambda has for it."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonLines(facts))
    log = logging.getLogger("headgate")
    log.handlers = [handler]
    log.propagate = False
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)


class Metrics:
    """The observer's counts, as far as they were not yet written."""

    def __init__(
        self, observer: Observer, facts: Mapping[str, str], clock: Clock, stream: TextIO | None = None
    ) -> None:
        self._observer = observer
        self._facts = facts
        self._clock = clock
        self._stream = stream
        self._written: Counts = Counter()

    def write(self) -> None:
        """Write what has come since the last time: a line for each kind of thing that happened."""
        counts = Counter(dict(_counts(self._observer)))
        new = counts - Counter(self._written)
        self._written = counts
        for (name, dimensions), count in new.items():
            self._print(name, dict(dimensions), count)
            if name == "worked" and dict(dimensions)["outcome"] == "failed":
                self.tell_dead(dict(dimensions)["channel"], count)  # there are so many at least

    def tell_dead(self, channel: str, letters: int) -> None:
        """Write how many dead letters a channel has, if any."""
        if letters:
            self._print(DEAD_LETTERS, {"channel": channel}, letters)

    def _print(self, name: str, dimensions: dict[str, str], count: int) -> None:
        of_channel = [*self._facts, "channel"]
        further = [each for each in dimensions if each != "channel"]
        metrics = {
            "Namespace": NAMESPACE,
            # Once for the channel as a whole, once by what exactly it was.
            "Dimensions": [of_channel, *([[*of_channel, *further]] if further else [])],
            "Metrics": [{"Name": name, "Unit": "Count"}],
        }
        about: dict[str, Any] = {"_aws": {"Timestamp": self._clock.now_ms(), "CloudWatchMetrics": [metrics]}}
        line = json.dumps({**about, **self._facts, **dimensions, name: count})
        print(line, file=self._stream or sys.stdout, flush=True)


def _counts(observer: Observer) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], int]]:
    for (channel, result), count in observer.accepted.items():
        yield ("messages", (("channel", channel), ("result", result))), count
    for (channel, outcome), count in observer.worked.items():
        yield ("worked", (("channel", channel), ("outcome", outcome))), count
    for name, counts in (("refused", observer.refused), ("faults", observer.faulted)):
        for (channel, reason, status), count in counts.items():
            yield (name, (("channel", channel or "-"), ("reason", reason), ("status", str(status)))), count
