"""Schedules: rules of EventBridge where those will do, else those of its Scheduler, which knows time zones."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from headgate.cdk.functions import attach
from headgate.cdk.policy import Grant
from headgate.declare.schedule import Schedule, handed, is_rule


class WorkflowSchedule(Construct):
    """Starts a workflow by the clock, with the input that is declared. `name` is what AWS knows it by."""

    def __init__(self, scope: Construct, id: str, *, schedule: Schedule, workflow: sfn.CfnStateMachine) -> None:
        super().__init__(scope, id)
        simple = is_rule(schedule)
        service = "events.amazonaws.com" if simple else "scheduler.amazonaws.com"
        own = {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal(service, conditions=own))
        granted = attach(self, [Grant(("states:StartExecution",), (workflow.attr_arn,))], role)
        description = f"Starts {schedule.workflow}: {schedule.expression}"
        told = handed(schedule)
        if simple:
            rule: events.CfnRule | scheduler.CfnSchedule = events.CfnRule(
                self,
                "Rule",
                description=description,
                schedule_expression=schedule.expression,
                state="ENABLED",
                targets=[
                    events.CfnRule.TargetProperty(
                        id="Workflow", arn=workflow.attr_arn, role_arn=role.role_arn, input=told
                    )
                ],
            )
        else:
            rule = scheduler.CfnSchedule(
                self,
                "Schedule",
                description=description,
                schedule_expression=schedule.expression,
                schedule_expression_timezone=schedule.timezone,
                flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
                target=scheduler.CfnSchedule.TargetProperty(arn=workflow.attr_arn, role_arn=role.role_arn, input=told),
            )
        rule.node.add_dependency(granted)
        self.name = rule.ref
