"""Schedules: a rule where UTC will do, else one with its time zone; each may start its workflow and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headgate import App, DeclarationError, Public
from headgate import workflow as w
from tests.cdk.stacks import Synthesized, synthesize

RULE, SCHEDULE = "AWS::Events::Rule", "AWS::Scheduler::Schedule"


def test_what_repeats_in_utc_is_a_rule_that_hands_over_the_declared_input(works: Synthesized) -> None:
    rule = works.service.one(RULE, ScheduleExpression="rate(5 minutes)")
    (target,) = rule["Targets"]
    assert json.loads(target["Input"]) == {"from": "the clock"}
    assert target["Arn"]["Fn::GetAtt"][0].startswith("NightlyWorkflow")


def test_what_has_a_time_zone_or_happens_once_is_left_to_the_scheduler(works: Synthesized) -> None:
    found = {it["ScheduleExpression"]: it for it in works.service.properties(SCHEDULE)}
    assert found.keys() == {"cron(0 8 ? * MON-FRI *)", "at(2030-01-01T00:00:00)"}
    morning = found["cron(0 8 ? * MON-FRI *)"]
    assert morning["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert morning["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["at(2030-01-01T00:00:00)"]["Target"]["Arn"]["Fn::GetAtt"][0].startswith("QuickWorkflow")


def test_each_may_start_its_workflow_and_nothing_else(works: Synthesized) -> None:
    policies = {
        name: it["Properties"] for name, it in works.service.all("AWS::IAM::Policy").items() if "Schedule" in name
    }
    assert len(policies) == 3
    for policy in policies.values():
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Action"] == "states:StartExecution"
        assert "WorkflowMachine" in statement["Resource"]["Fn::GetAtt"][0]
    for role in (it for name, it in works.service.all("AWS::IAM::Role").items() if "Schedule" in name):
        (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def handing_over(text: str) -> App:
    app = App("shop")
    app.channel("/orders", auth=Public())

    @app.task
    def settle(given: Any) -> Any:
        return given

    app.workflow("nightly", w.task(settle))
    app.schedule("each", "rate(5 minutes)", "nightly", input={"text": text})
    return app


def test_what_hands_over_more_than_a_rule_can_is_left_to_the_scheduler(tmp_path: Path) -> None:
    made = synthesize(tmp_path, handing_over("x" * 9_000))
    assert not made.service.all(RULE)
    (schedule,) = made.service.properties(SCHEDULE)
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert json.loads(schedule["Target"]["Input"]) == {"text": "x" * 9_000}


def test_more_than_an_execution_takes_is_refused_at_load() -> None:
    with pytest.raises(DeclarationError, match="schedule each: `input=` has 300012 bytes, and an execution takes 26"):
        handing_over("x" * 300_000).check()
