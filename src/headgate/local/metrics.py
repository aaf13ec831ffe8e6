"""The observer's counts as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from headgate.gate.observe import Observer

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Gauge(NamedTuple):
    """What something measures now."""

    name: str
    what: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Metrics(Collector):
    """Counts since the process started, the process itself, and what `gauges` measures when it is asked."""

    def __init__(self, observer: Observer, gauges: Callable[[], Iterable[Gauge]] = tuple) -> None:
        self._observer = observer
        self._gauges = gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition, of type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Prometheus's own verb."""
        of_refusal = ("channel", "reason", "status")
        yield _family("headgate_messages", "Messages accepted", ("channel", "result"), dict(self._observer.accepted))
        yield _family("headgate_refused", "Requests and batch items refused", of_refusal, dict(self._observer.refused))
        yield _family(
            "headgate_worked", "Attempts behind the gate", ("channel", "outcome"), dict(self._observer.worked)
        )
        yield _family("headgate_faults", "Requests that failed on our side", of_refusal, dict(self._observer.faulted))
        found: dict[str, GaugeMetricFamily] = {}
        for name, what, labels, value in self._gauges():
            family = found.setdefault(name, GaugeMetricFamily(name, what, labels=[label for label, _ in labels]))
            family.add_metric([text for _, text in labels], value)
        yield from found.values()


def _family(
    name: str, what: str, labels: tuple[str, ...], counts: dict[tuple[str, str], int] | dict[tuple[str, str, int], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=labels)
    for values, count in counts.items():
        family.add_metric([str(value) for value in values], count)
    return family
