"""Who reads a stream, as Lambda and CloudWatch tell it. Where in a shard a reader is, Lambda keeps to itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from headgate.aws.clients import Clients
from headgate.aws.settings import CONSUMER
from headgate.clock import Clock

_LOOK_BACK = timedelta(minutes=15)
_PERIOD_S = 60


class Reader(NamedTuple):
    """A consumer, and how old the oldest record was that it was handed in the last minute in which it was handed any;
    None where that is more than a quarter of an hour ago."""

    consumer: str
    lag_ms: int | None


def readers_of(clients: Clients, stream_arn: str, clock: Clock) -> list[Reader]:
    """The consumers of a stream, by their names. Raises Unavailable."""
    functions = functions_of(clients, stream_arn)
    lags = _lags(clients, list(functions.values()), clock)
    return sorted(Reader(*each) for each in zip(functions, lags, strict=True))


def functions_of(clients: Clients, stream_arn: str) -> dict[str, str]:
    """The functions that a stream is handed to, by the names of their consumers. Raises Unavailable."""
    mappings: list[dict[str, Any]] = []
    following: dict[str, str] = {}
    while True:
        page = clients.call("lambda", "list_event_source_mappings", EventSourceArn=stream_arn, **following)
        mappings += page["EventSourceMappings"]
        if not page.get("NextMarker"):
            break
        following = {"Marker": page["NextMarker"]}
    functions = [
        clients.call("lambda", "get_function_configuration", FunctionName=mapping["FunctionArn"])
        for mapping in mappings
    ]
    return {
        function.get("Environment", {}).get("Variables", {}).get(CONSUMER, ""): function["FunctionName"]
        for function in functions
    }


def _lags(clients: Clients, functions: Sequence[str], clock: Clock) -> list[int | None]:
    if not functions:
        return []
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    queries = [
        {
            "Id": f"lag{at}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Lambda",
                    "MetricName": "IteratorAge",
                    "Dimensions": [{"Name": "FunctionName", "Value": function}],
                },
                "Period": _PERIOD_S,
                "Stat": "Maximum",
            },
        }
        for at, function in enumerate(functions)
    ]
    told = clients.call(
        "cloudwatch",
        "get_metric_data",
        MetricDataQueries=queries,
        StartTime=now - _LOOK_BACK,
        EndTime=now,
        ScanBy="TimestampDescending",
    )
    values = {result["Id"]: result["Values"] for result in told["MetricDataResults"]}
    return [round(found[0]) if (found := values.get(query["Id"])) else None for query in queries]
