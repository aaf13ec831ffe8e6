"""Metrics that come out of logs, and those that API Gateway, SQS and Step Functions keep of themselves.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import apigateway_v1 as gateway
from ministack.services import cloudwatch, cloudwatch_logs, sqs
from ministack.services import stepfunctions as states

log = logging.getLogger("measuring")

_EACH_S = 0.5
_SERVER_FAULT = 500
_BAD_ENDS = {"FAILED": "ExecutionsFailed", "TIMED_OUT": "ExecutionsTimedOut", "ABORTED": "ExecutionsAborted"}
_TERM = re.compile(r'\$\.(\w+)\s*=\s*"([^"]*)"')

_request: ContextVar[dict[str, Any]] = ContextVar("the request, as far as it is known")


def install() -> None:
    """Read logs as they come, count what the API answers and how Standard executions end, and look at queues all the
    time."""
    fan_out = cloudwatch_logs._fanout_to_subscription_filters
    handle, execute = gateway._handle_execute_in_scope, gateway._execute_in_scope
    tell_status = states._emit_execution_status_event

    def told(group: str, stream: str, events: Sequence[Mapping[str, Any]]) -> Any:
        for event in events:
            _measure(group, event["message"])
        return fan_out(group, stream, events)

    async def executed(request: dict[str, Any], *rest: Any) -> Any:
        _request.set(request)
        return await execute(request, *rest)

    async def handled(api_id: str, stage: str, method: str, *rest: Any) -> Any:
        answer = await handle(api_id, stage, method, *rest)
        _count(_request.get({}), api_id, stage, method, answer[0])
        return answer

    def status_told(execution: dict[str, Any]) -> None:
        tell_status(execution)
        if (name := _BAD_ENDS.get(execution["status"])) is not None:
            machine = {"StateMachineArn": str(execution["stateMachineArn"])}
            cloudwatch.record_metric("AWS/States", name, 1.0, "Count", machine)

    cloudwatch_logs._fanout_to_subscription_filters = told
    states._emit_execution_status_event = status_told
    gateway._execute_in_scope = executed
    gateway._handle_execute_in_scope = handled
    threading.Thread(target=_watch_queues, daemon=True).start()


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


def _count(request: Mapping[str, Any], api_id: str, stage: str, method: str, status: int) -> None:
    """Of each request 1 or 0, so that the average is a rate; by method where the stage has detailed metrics."""
    path = request.get("resource_path")
    if not path:
        return
    api = {"ApiName": gateway._rest_apis[api_id]["name"]}
    settings = ((request.get("stage") or {}).get("methodSettings") or {}).get(f"{path}/{method}") or {}
    by_method = {**api, "Stage": stage, "Resource": path, "Method": method}
    for dimensions in [api, *([by_method] if settings.get("metricsEnabled") else [])]:
        cloudwatch.record_metric("AWS/ApiGateway", "5XXError", float(status >= _SERVER_FAULT), "Count", dimensions)


def _watch_queues() -> None:
    while True:
        time.sleep(_EACH_S)
        for (account, region, _), queue in list(sqs._queues.all_items()):
            try:
                oldest_s = min((message["sent_at"] for message in list(queue["messages"])), default=None)
                if oldest_s is not None:
                    with request_scope(account, region):
                        cloudwatch.record_metric(
                            "AWS/SQS", "ApproximateAgeOfOldestMessage", time.time() - oldest_s, "Seconds",
                            {"QueueName": queue["attributes"]["QueueArn"].rpartition(":")[2]},
                        )  # fmt: skip
            except Exception:
                log.exception("a queue was not looked at")
