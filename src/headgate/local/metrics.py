"""The observer's counts as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from headgate.gate.observe import Observer

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics(Collector):
    """Counts since the process started, and the process itself."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
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


def _family(
    name: str, what: str, labels: tuple[str, ...], counts: dict[tuple[str, str], int] | dict[tuple[str, str, int], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=labels)
    for values, count in counts.items():
        family.add_metric([str(value) for value in values], count)
    return family
