"""Workflows as state machines: the same document as anywhere, with the names of what it asks put in when it is
deployed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from headgate.cdk import outputs, policy
from headgate.cdk.environment import Surroundings
from headgate.cdk.functions import Functions, attach, log_group
from headgate.cdk.policy import Grant
from headgate.declare.asl_services import asks
from headgate.declare.compile import places
from headgate.declare.express import noted
from headgate.declare.stage import Stage
from headgate.declare.task import Task, Workflow

_TASK_HANDLER = "headgate.aws.lambdas.task.handler"
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class TaskFunctions:
    """Makes the functions of an app's tasks, with the size, time, environment and secrets that are declared."""

    functions: Functions
    told: Surroundings
    secrets: Mapping[str, secretsmanager.ISecret]
    stage: Stage

    def add(self, task: Task) -> lambda_.Function:
        """The function of one task."""
        read = [secret.name for secret in task.needs.secrets]
        settings = replace(self.told.settings((), read), task=task.name)
        return self.functions.add(
            f"{outputs.pascal(task.name)}Task",
            handler=_TASK_HANDLER,
            description=f"Task {task.name} of workflows",
            environment=self.told.variables(settings, task.needs),
            grants=policy.read_secrets([self.secrets[name] for name in read]),
            memory_mb=task.needs.memory_mb,
            timeout_s=max(1, math.ceil(task.needs.timeout_s)),
            called=self.stage.names.get(f"task:{task.name}"),
        )


class StateMachine(Construct):
    """A workflow: Standard or Express as declared, with a log and traces, and a role that may do what its document
    asks: call these functions, tell these topics, put into these buckets, send to these queues, and of these tables
    just what it asks. An Express one calls the functions `ended` of the channels that start it."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        workflow: Workflow,
        stage: Stage,
        tasks: Mapping[str, lambda_.IFunction] = _NONE,
        topics: Mapping[str, sns.ITopic] = _NONE,
        notices: kms.IKey | None = None,
        archives: Mapping[str, s3.IBucket] = _NONE,
        queues: Mapping[str, sqs.IQueue] = _NONE,
        tables: Mapping[str, dynamodb.ITable] = _NONE,
        ended: Sequence[lambda_.IFunction] = (),
    ) -> None:
        super().__init__(scope, id)
        asked = places(workflow.document)
        known = {
            **{("task", name): function.function_arn for name, function in tasks.items()},
            **{("topic", name): topic.topic_arn for name, topic in topics.items()},
            **{("archive", name): bucket.bucket_name for name, bucket in archives.items()},
            **{("queue", name): queue.queue_url for name, queue in queues.items()},
            **{("table", name): table.table_name for name, table in tables.items()},
        }
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("states.amazonaws.com"))
        # Logs of other names are told one by one in a policy that the account's region has one of, and that gets full.
        group = log_group(self, "Log", stage, name=f"/aws/vendedlogs/states/{role.role_name}")
        called = [tasks[name].function_arn for kind, name in asked if kind == "task"]
        called += [function.function_arn for function in ended]
        document = workflow.placed(_substitute)
        told = [topics[name].topic_arn for kind, name in asked if kind == "topic"]
        kept = [archives[name].arn_for_objects("*") for kind, name in asked if kind == "archive"]
        granted = attach(
            self,
            [
                *([Grant(("lambda:InvokeFunction",), tuple(called))] if called else []),
                *([Grant(("sns:Publish",), tuple(told))] if told else []),
                *(
                    [Grant(("kms:Decrypt", "kms:GenerateDataKey"), (notices.key_arn,))]
                    if told and notices is not None
                    else []
                ),
                *([Grant(("s3:PutObject",), tuple(kept), _OBJECTS)] if kept else []),
                *_sends(workflow, queues),
                *_keeps(workflow, tables),
                *_OWN,
            ],
            role,
        )
        self.machine = sfn.CfnStateMachine(
            self,
            "Machine",
            state_machine_name=stage.names.get(f"workflow:{workflow.name}"),
            state_machine_type=workflow.kind,
            definition_string=json.dumps(noted(document) if ended else document, indent=1, ensure_ascii=False),
            definition_substitutions={_substituted(*place): known[place] for place in asked} or None,
            role_arn=role.role_arn,
            logging_configuration=sfn.CfnStateMachine.LoggingConfigurationProperty(
                level="ALL",
                include_execution_data=False,
                destinations=[
                    sfn.CfnStateMachine.LogDestinationProperty(
                        cloud_watch_logs_log_group=sfn.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                            log_group_arn=group.log_group_arn
                        )
                    )
                ],
            ),
            tracing_configuration=sfn.CfnStateMachine.TracingConfigurationProperty(enabled=True),
        )
        self.machine.node.add_dependency(granted)


def _sends(workflow: Workflow, queues: Mapping[str, sqs.IQueue]) -> list[Grant]:
    arns = dict.fromkeys(queues[ask.name].queue_arn for ask in asks(workflow.document) if ask.kind == "queue")
    return [Grant(("sqs:SendMessage",), tuple(arns))] if arns else []


def _keeps(workflow: Workflow, tables: Mapping[str, dynamodb.ITable]) -> list[Grant]:
    """Of each verb just those tables of which it is asked."""
    arns: dict[str, dict[str, None]] = {}
    for ask in asks(workflow.document):
        if ask.kind == "table":
            verb = ask.verb.removeprefix("dynamodb:")
            arns.setdefault(f"dynamodb:{verb[0].upper()}{verb[1:]}", {})[tables[ask.name].table_arn] = None
    return [Grant((action,), tuple(found)) for action, found in sorted(arns.items())]


_OBJECTS = "Objects are called by what is in the input, which is not known beforehand."
_OWN = (
    Grant(
        (
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
        ),
        ("*",),
        "CloudWatch Logs has no resources for the delivery of logs, and X-Ray none for traces.",
    ),
    Grant(
        ("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
        ("*",),
        "CloudWatch Logs has no resources for the delivery of logs, and X-Ray none for traces.",
    ),
)


def _substitute(kind: str, name: str) -> str:
    return f"${{{_substituted(kind, name)}}}"


def _substituted(kind: str, name: str) -> str:
    return f"{kind}_{outputs.pascal(name)}"
