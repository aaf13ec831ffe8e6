"""Alarms: one for each that follows from the declaration, told to every topic that hears of them, and over again."""

from __future__ import annotations

from pathlib import Path

from headgate import App, Public
from headgate.describe.alarms import alarms
from tests.cdk.stacks import Node, Synthesized, spelled, synthesize
from tests.cdk.works import app

ALARM = "AWS::CloudWatch::Alarm"


def alarm(works: Synthesized, sentence: str) -> Node:
    return works.service.one(ALARM, AlarmDescription=sentence)


def test_the_alarms_are_those_of_the_declaration(works: Synthesized) -> None:
    assert sorted(it["AlarmDescription"] for it in works.service.properties(ALARM)) == sorted(
        it.sentence for it in alarms(app)
    )


def test_topics_that_hear_of_alarms_are_told_when_one_goes_off_and_when_it_is_over(works: Synthesized) -> None:
    for made in works.service.properties(ALARM):
        assert [spelled(it) for it in made["AlarmActions"]] == ["works-prod-data-AlertsTopicArn"]
        assert made["OKActions"] == made["AlarmActions"]
        assert made["TreatMissingData"] == "notBreaching"


def test_dead_letters_are_those_that_there_are_within_the_last_minutes(works: Synthesized) -> None:
    made = alarm(works, "/orders has dead letters.")
    assert (made["Namespace"], made["MetricName"], made["Threshold"]) == ("headgate", "dead_letters", 1)
    assert (made["Statistic"], made["DatapointsToAlarm"], made["EvaluationPeriods"]) == ("Maximum", 1, 3)
    assert {it["Name"]: it["Value"] for it in made["Dimensions"]} == {
        "app": "works",
        "stage": "prod",
        "channel": "orders",
    }


def test_failed_attempts_are_counted_in_the_logs_of_those_who_handle(works: Synthesized) -> None:
    made = alarm(works, "5 attempts or more at /clicks failed within 5 minutes.")
    filters = [
        it
        for it in works.service.properties("AWS::Logs::MetricFilter")
        if it["MetricTransformations"][0]["MetricName"] == made["MetricName"]
    ]
    groups = {it["LogGroupName"]["Ref"] for it in filters}
    assert len(groups) == 2
    assert all("ConsumerLog" in group for group in groups)


def test_the_oldest_message_and_the_lag_are_those_that_aws_knows(works: Synthesized) -> None:
    oldest = alarm(works, "A message of /orders has been waiting for 5 minutes or more.")
    assert (oldest["MetricName"], oldest["Threshold"]) == ("ApproximateAgeOfOldestMessage", 300)
    lag = alarm(works, "Consumer count of /clicks is 5 minutes or more behind.")
    assert (lag["MetricName"], lag["Threshold"]) == ("IteratorAge", 300_000)


def test_executions_that_end_badly_are_those_that_step_functions_counts(works: Synthesized) -> None:
    made = alarm(works, "An execution of the workflow nightly failed within 5 minutes.")
    (expression,) = (it for it in made["Metrics"] if "Expression" in it)
    assert expression["Expression"] == "FILL(failed, 0) + FILL(late, 0) + FILL(stopped, 0)"
    asked = [it["MetricStat"] for it in made["Metrics"] if "MetricStat" in it]
    assert {(it["Metric"]["Namespace"], it["Metric"]["MetricName"], it["Stat"], it["Period"]) for it in asked} == {
        ("AWS/States", f"Executions{end}", "Sum", 300) for end in ("Failed", "TimedOut", "Aborted")
    }
    (dimension,) = asked[0]["Metric"]["Dimensions"]
    assert dimension["Name"] == "StateMachineArn"
    assert spelled(dimension["Value"]).startswith("NightlyWorkflow")
    assert (made["Threshold"], made["EvaluationPeriods"]) == (1, 1)


def test_errors_are_counted_by_the_api_for_each_post(works: Synthesized) -> None:
    made = alarm(works, "5% or more of the requests to /orders failed within 5 minutes.")
    assert (made["MetricName"], made["Statistic"], made["Threshold"]) == ("5XXError", "Average", 0.05)
    dimensions = {it["Name"]: it["Value"] for it in made["Dimensions"]}
    assert (dimensions["Resource"], dimensions["Method"]) == ("/orders", "POST")
    (deployed,) = works.service.properties("AWS::ApiGateway::Stage")
    counted = {it["ResourcePath"] for it in deployed["MethodSettings"] if it.get("MetricsEnabled")}
    assert "/~1orders" in counted


def test_where_nobody_hears_of_alarms_there_are_none(tmp_path: Path) -> None:
    quiet = App("quiet")
    quiet.channel("/orders", auth=Public())
    quiet.topic("sales", alarms=False)
    made = synthesize(tmp_path, quiet)
    assert not made.service.all(ALARM)
