"""The values of a metric come newest first, unless they are asked for the other way round.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html: ScanBy.
"""

from __future__ import annotations

from collections import defaultdict
from contextvars import ContextVar
from typing import Any

from ministack.services import cloudwatch

_newest_first: ContextVar[bool] = ContextVar("whether the newest value is the first", default=False)


def install() -> None:
    """Amend the order of periods where it is settled."""
    answer = cloudwatch._get_metric_data

    def answered(params: Any, told: Any, *rest: Any, **named: Any) -> Any:
        asked = told.get("ScanBy") if told else cloudwatch._p(params, "ScanBy")
        before = _newest_first.set(asked != "TimestampAscending")
        try:
            return answer(params, told, *rest, **named)
        finally:
            _newest_first.reset(before)

    def ordered(those: Any, **how: Any) -> list[Any]:
        if isinstance(those, defaultdict) and _newest_first.get():  # values by their periods
            return sorted(those, reverse=True)
        return sorted(those, **how)

    cloudwatch._get_metric_data = answered
    cloudwatch.sorted = ordered
