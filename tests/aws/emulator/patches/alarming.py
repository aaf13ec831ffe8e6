"""Alarms that look at their own metric, or at an expression of several, and are over when nothing more comes.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html: the last values of the evaluation
range count; only where there are fewer than the alarm looks at, the missing ones are what the alarm says of them. How
long that range is AWS does not say; the figures of that page have two periods more than the alarm looks at.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html: where a metric has no value, an
expression of it has none; nor has a division by zero.

They go by a time of their own, see tests/aws/emulator/minutes.py, so that nobody waits for minutes.
"""

from __future__ import annotations

import ast
import logging
import operator
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ministack.core.responses import request_scope
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from tests.aws.emulator.minutes import Clock, Minutes

log = logging.getLogger("alarming")

_EACH_S = 0.3
_FURTHER = 2
_MATH = "metric math"
_REACHED: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}
_BINARY: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Eq: operator.eq,
}  # fmt: skip


class Look(NamedTuple):
    """A look at metrics, at an alarm time."""

    clock: Clock
    now_s: float


_queries: dict[str, list[dict[str, Any]]] = {}
"""Of alarms of metric math, by their names."""
_evaluating = threading.Lock()


def install() -> None:
    """Evaluate alarms all the time, and take those of metric math."""
    record = provisioners._cw_metric_alarm_record

    def recorded(name: str, props: dict[str, Any]) -> Any:
        _queries.pop(name, None)
        if props.get("Metrics"):
            _queries[name] = props["Metrics"]
            props = {**props, "Metrics": None, "Namespace": _MATH, "MetricName": name}
        return record(name, props)

    provisioners._cw_metric_alarm_record = recorded
    cloudwatch._evaluate_alarm = _evaluate
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_EACH_S)
        alarms = list(cloudwatch._alarms.all_items())
        clocks = [(minutes, minutes.clock()) for minutes in {_minutes_of(alarm) for _, alarm in alarms}]
        for (account, region, _), alarm in alarms:
            try:
                with request_scope(account, region):
                    _evaluate(alarm)
            except Exception:
                log.exception("an alarm was not evaluated")
        for minutes, clock in clocks:
            minutes.saw(clock)


@cache
def _minutes(topic: str) -> Minutes:
    return Minutes(Path(os.environ["EMULATOR_MINUTES"]), topic)


def _minutes_of(alarm: Mapping[str, Any]) -> Minutes:
    return _minutes(next(iter(alarm.get("AlarmActions") or []), ""))


def _evaluate(alarm: dict[str, Any]) -> None:
    with _evaluating:
        before = alarm["StateValue"]
        looked_at = int(alarm.get("EvaluationPeriods") or 1)
        clock = _minutes_of(alarm).clock()
        look = Look(clock, clock.alarm_s(time.time()))
        values = [_value(alarm, look, back) for back in range(looked_at + _FURTHER)]
        now = _state(alarm, [value for value in values if value is not None], looked_at)
        if now == before:
            return
        reason = f"The values were {values}, the last one first."
        alarm.update(StateValue=now, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], before, now, reason)
        cloudwatch._dispatch_alarm_actions(alarm, before, now, reason)
        cloudwatch._evaluate_parent_alarms(alarm)


def _state(alarm: Mapping[str, Any], there: Sequence[float], looked_at: int) -> str:
    """The last values, and what is made of those that are missing. Breaching ones count wherever they are."""
    to_alarm = int(alarm.get("DatapointsToAlarm") or looked_at)
    reached, limit = _REACHED[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    bad = sum(reached(value, limit) for value in there[:looked_at])
    missing = looked_at - min(looked_at, len(there))
    match alarm.get("TreatMissingData") or "missing":
        case "breaching":
            bad += missing
        case "ignore" if missing:
            return str(alarm["StateValue"])
        case "missing" if not there:
            return "INSUFFICIENT_DATA"
        case "missing":
            to_alarm = min(to_alarm, len(there))
    return "ALARM" if bad >= to_alarm else "OK"


def _value(alarm: Mapping[str, Any], look: Look, back: int) -> float | None:
    """What the alarm looks at, `back` periods ago; None where nothing is known of it."""
    if alarm["AlarmName"] not in _queries:
        name = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        return _of_metric(alarm, str(name), float(alarm["Period"]), look, back)
    known: dict[str, float | None] = {}
    expressions = []
    for query in _queries[alarm["AlarmName"]]:
        if "Expression" in query:
            expressions.append(query)
            continue
        asked = query["MetricStat"]
        known[query["Id"]] = _of_metric(asked["Metric"], asked["Stat"], float(asked["Period"]), look, back)
    (expression,) = expressions
    return _calculated(ast.parse(expression["Expression"], mode="eval").body, known)


def _of_metric(metric: Mapping[str, Any], statistic: str, period_s: float, look: Look, back: int) -> float | None:
    wanted = {each["Name"]: each["Value"] for each in metric.get("Dimensions") or []}
    end_s = look.now_s - back * period_s
    found = cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(wanted))) or []
    points = [point for point in list(found) if end_s - period_s < look.clock.alarm_s(point["Timestamp"]) <= end_s]
    return float(cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)) if points else None


def _calculated(node: ast.expr, known: Mapping[str, float | None]) -> float | None:
    """Of metric math, what our stacks use. It reads as Python does."""
    match node:
        case ast.Constant(int() | float() as number):
            return float(number)
        case ast.Name(name):
            return known[name]
        case ast.Call(ast.Name("IF"), [asked, then, otherwise]):
            holds = _calculated(asked, known)
            return None if holds is None else _calculated(then if holds else otherwise, known)
        case ast.Call(ast.Name("FILL"), [what, instead]):
            value = _calculated(what, known)
            return _calculated(instead, known) if value is None else value
        case ast.BinOp(left, by, right) | ast.Compare(left, [by], [right]):
            first, second = _calculated(left, known), _calculated(right, known)
            if first is None or second is None or (isinstance(by, ast.Div) and not second):
                return None
            return float(_BINARY[type(by)](first, second))
    raise AssertionError(f"an expression of which nothing is known here: {ast.unparse(node)}")
