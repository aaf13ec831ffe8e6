"""Alarms of CloudWatch: those that follow from the declaration, each with the metric that AWS has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from headgate.aws.telemetry import DEAD_LETTERS, NAMESPACE
from headgate.declare.app import App
from headgate.declare.stage import Stage
from headgate.describe.alarms import Alarm, alarms

# What an attempt that failed is in the log of a function; of what was refused or broke, other things are told.
_FAILED_ATTEMPT = '{ ($.message = "retried channel=*") || ($.message = "failed channel=*") }'

_BAD_ENDS = {"failed": "ExecutionsFailed", "late": "ExecutionsTimedOut", "stopped": "ExecutionsAborted"}

_DEAD_MINUTES = 3


@dataclass(frozen=True)
class Watched:
    """What alarms look at: the API, queues by their channels, functions that handle by (channel, consumer), and state
    machines by their workflows."""

    api: apigateway.RestApi
    queues: Mapping[str, sqs.IQueue] = field(default_factory=dict)
    handling: Mapping[tuple[str, str], lambda_.Function] = field(default_factory=dict)
    machines: Mapping[str, sfn.CfnStateMachine] = field(default_factory=dict)


class Alarms(Construct):
    """One alarm for each in the list that the local engine goes by too. Every topic is told when it goes off, and when
    it is over."""

    def __init__(
        self, scope: Construct, id: str, *, app: App, stage: Stage, watched: Watched, topics: Sequence[sns.ITopic]
    ) -> None:
        super().__init__(scope, id)
        self._facts = {"app": app.name, "stage": stage.name}
        self._paths = {channel.name: channel.path for channel in app.channels}
        self._watched = watched
        told = [actions.SnsAction(topic) for topic in topics]
        for alarm in alarms(app):
            made = cloudwatch.Alarm(
                self,
                alarm.name,
                alarm_description=alarm.sentence,
                metric=self._metric(alarm),
                # Lambda tells in milliseconds how old a record is.
                threshold=alarm.threshold * (1000 if alarm.metric == "lag_s" else 1),
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                # Dead letters are counted once a minute, and no minute is sure to have just one of these counts.
                evaluation_periods=_DEAD_MINUTES if alarm.metric == "dead_letters" else 1,
                datapoints_to_alarm=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            made.add_alarm_action(*told)
            made.add_ok_action(*told)

    def _metric(self, alarm: Alarm) -> cloudwatch.IMetric:
        period = Duration.seconds(alarm.period_s)
        match alarm.metric:
            case "dead_letters":
                return self._of_channel(alarm, DEAD_LETTERS, "Maximum")
            case "oldest_s":
                queue = self._watched.queues[alarm.channel]
                return queue.metric_approximate_age_of_oldest_message(period=period, statistic="Maximum")
            case "handler_errors":
                return self._failed_attempts(alarm)
            case "lag_s":
                consumer = self._watched.handling[alarm.channel, alarm.consumer]
                return consumer.metric("IteratorAge", period=period, statistic="Maximum")
            case "error_share":
                return self._errors(alarm)
            case "rejected_share":
                return cloudwatch.MathExpression(
                    expression="IF(looked > 0, bad / looked, 0)",
                    using_metrics={"bad": self._worked(alarm, outcome="rejected"), "looked": self._worked(alarm)},
                    label="share",
                    period=period,
                )
            case "failures":
                return cloudwatch.MathExpression(
                    expression=" + ".join(f"FILL({name}, 0)" for name in _BAD_ENDS),
                    using_metrics={name: self._executions(alarm, metric) for name, metric in _BAD_ENDS.items()},
                    label="failures",
                    period=period,
                )

    def _worked(self, alarm: Alarm, **dimensions: str) -> cloudwatch.Metric:
        return self._of_channel(alarm, "worked", "Sum", **dimensions)

    def _of_channel(self, alarm: Alarm, name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        """What the functions behind the gate count, beside their log."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={**self._facts, "channel": alarm.channel, **dimensions},
            period=Duration.seconds(alarm.period_s),
            statistic=statistic,
        )

    def _executions(self, alarm: Alarm, name: str) -> cloudwatch.Metric:
        """Step Functions' own count."""
        return cloudwatch.Metric(
            namespace="AWS/States",
            metric_name=name,
            dimensions_map={"StateMachineArn": self._watched.machines[alarm.workflow].attr_arn},
            period=Duration.seconds(alarm.period_s),
            statistic="Sum",
        )

    def _errors(self, alarm: Alarm) -> cloudwatch.Metric:
        """The API's own count, which also knows of functions that died."""
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name="5XXError",
            dimensions_map={
                "ApiName": self._watched.api.rest_api_name,
                "Stage": self._watched.api.deployment_stage.stage_name,
                "Resource": self._paths[alarm.channel],
                "Method": "POST",
            },
            period=Duration.seconds(alarm.period_s),
            statistic="Average",
        )

    def _failed_attempts(self, alarm: Alarm) -> cloudwatch.Metric:
        """Counted in the logs of the functions that handle."""
        name = ".".join(["handler_errors", *self._facts.values(), alarm.channel])
        for (channel, consumer), function in self._watched.handling.items():
            if channel == alarm.channel:
                logs.MetricFilter(
                    self,
                    f"{channel}-{consumer}-errors",
                    log_group=function.log_group,
                    filter_pattern=logs.FilterPattern.literal(_FAILED_ATTEMPT),
                    metric_namespace=NAMESPACE,
                    metric_name=name,
                    metric_value="1",
                )
        return cloudwatch.Metric(
            namespace=NAMESPACE, metric_name=name, period=Duration.seconds(alarm.period_s), statistic="Sum"
        )
