"""Metrics that come out of logs, and alarms that look at their own metric and are over when nothing more comes.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html

Periods pass ALARM_PERIOD_SCALE times as fast, so that nobody waits for minutes. Alarms of metric math are there, but
nobody evaluates them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch, cloudwatch_logs
from ministack.services.cloudformation import provisioners

log = logging.getLogger("measuring")

_EACH_S = 0.5
_SCALE = float(os.environ.get("ALARM_PERIOD_SCALE", "1"))
_MATH = "metric math"
_TERM = re.compile(r'\$\.(\w+)\s*=\s*"([^"]*)"')
_REACHED = {
    "GreaterThanOrEqualToThreshold": lambda value, limit: value >= limit,
    "GreaterThanThreshold": lambda value, limit: value > limit,
    "LessThanOrEqualToThreshold": lambda value, limit: value <= limit,
    "LessThanThreshold": lambda value, limit: value < limit,
}


def install() -> None:
    """Read logs as they come, and evaluate alarms all the time."""
    fan_out, record = cloudwatch_logs._fanout_to_subscription_filters, provisioners._cw_metric_alarm_record

    def told(group: str, stream: str, events: Sequence[Mapping[str, Any]]) -> Any:
        for event in events:
            _measure(group, event["message"])
        return fan_out(group, stream, events)

    def recorded(name: str, props: dict[str, Any]) -> Any:
        if props.get("Metrics"):
            props = {**props, "Metrics": None, "Namespace": _MATH, "MetricName": name}
        return record(name, props)

    cloudwatch_logs._fanout_to_subscription_filters = told
    provisioners._cw_metric_alarm_record = recorded
    cloudwatch._evaluate_alarm = _evaluate
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_EACH_S)
        for (account, region, _), alarm in list(cloudwatch._alarms.all_items()):
            try:
                with request_scope(account, region):
                    _evaluate(alarm)
            except Exception:
                log.exception("an alarm was not evaluated")


def _measure(group: str, line: str) -> None:
    """Count what a line of a log says: in the embedded format, or by a metric filter of its group."""
    try:
        found = json.loads(line)
    except ValueError:
        return
    if not isinstance(found, dict):
        return
    for metrics in found.get("_aws", {}).get("CloudWatchMetrics", []):
        for names in metrics["Dimensions"]:
            dimensions = {name: str(found[name]) for name in names}
            for metric in metrics["Metrics"]:
                cloudwatch.record_metric(
                    metrics["Namespace"], metric["Name"], float(found[metric["Name"]]), "Count", dimensions
                )
    for (of, _), wanted in list(cloudwatch_logs._metric_filters.items()):
        if of == group and _matches(wanted.get("filterPattern", ""), found):
            for metric in wanted["metricTransformations"]:
                cloudwatch.record_metric(metric["metricNamespace"], metric["metricName"], float(metric["metricValue"]))


def _matches(pattern: str, found: Mapping[str, Any]) -> bool:
    """Of the syntax, what our stacks use: members that are equal to a text with `*` in it, one or another."""
    terms = _TERM.findall(pattern)
    assert terms, f"a pattern of which nothing is known here: {pattern}"
    assert "&&" not in pattern, f"a pattern of which nothing is known here: {pattern}"
    return any(
        re.fullmatch(".*".join(map(re.escape, text.split("*"))), str(found.get(name, ""))) is not None
        for name, text in terms
    )


def _evaluate(alarm: dict[str, Any]) -> None:
    if alarm["Namespace"] == _MATH:
        return
    within_s = int(alarm["Period"]) * int(alarm.get("EvaluationPeriods") or 1) * _SCALE
    points = [point for point in _points(alarm) if point["Timestamp"] > time.time() - within_s]
    before = alarm["StateValue"]
    if points:
        name = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        value = cloudwatch._stat_value(cloudwatch._calc_stats(points), name, points)
        now = "ALARM" if _REACHED[alarm["ComparisonOperator"]](value, float(alarm["Threshold"])) else "OK"
    else:
        value = None
        now = {"notBreaching": "OK", "breaching": "ALARM", "ignore": before}.get(
            alarm.get("TreatMissingData") or "", "INSUFFICIENT_DATA"
        )
    if now != before:
        reason = f"The value is {value}."
        alarm.update(StateValue=now, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], before, now, reason)
        cloudwatch._dispatch_alarm_actions(alarm, before, now, reason)
        cloudwatch._evaluate_parent_alarms(alarm)


def _points(alarm: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    wanted = {each["Name"]: each["Value"] for each in alarm.get("Dimensions") or []}
    for (namespace, name, _), points in list(cloudwatch._metrics.items()):
        if (namespace, name) == (alarm["Namespace"], alarm["MetricName"]):
            yield from (point for point in list(points) if dict(point.get("Dimensions") or {}) == wanted)
