"""A service that is given a role does what the role may do, and nothing else: Step Functions in the tasks of a machine,
EventBridge and its Scheduler at their targets. A function is called by a rule, a topic told by an alarm, that its
resource policy names.

https://docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-identity-based.html, eb-use-resource-based.html
https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html: who publishes to an encrypted topic uses its key too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch, eventbridge, scheduler, sns, stepfunctions
from ministack.services.cloudformation import provisioners

from tests.aws.emulator.patches.invoking import may_be_invoked
from tests.aws.emulator.roles import may

_role: ContextVar[str] = ContextVar("the role of the machine that runs")

_SDK = "arn:aws:states:::aws-sdk:"
_DYNAMODB = "arn:aws:states:::dynamodb:"
_DENIED = {
    "lambda": "Lambda.AWSLambdaException",
    "sns": "SNS.AuthorizationErrorException",
    "kms": "SNS.KmsAccessDeniedException",
    "sqs": "SQS.SqsException",
    "s3": "S3.S3Exception",
}
_TICK_S = 0.5
"""How often the Scheduler looks at what is due: ten seconds are long for a test."""
_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
_KEY_USES = ("kms:GenerateDataKey", "kms:Decrypt")


def install() -> None:
    """Ask before a service does anything."""
    execute, invoke = stepfunctions._execute_task, stepfunctions._invoke_resource
    deliver = eventbridge._invoke_target

    def executed(state: Any, given: Any, execution: Any, context: Any) -> Any:
        machine = stepfunctions._state_machines.get((execution or {}).get("stateMachineArn")) or {}
        _role.set(machine.get("roleArn", ""))
        return execute(state, given, execution, context)

    def invoked(resource: str, given: Any) -> Any:
        role = _role.get("")
        _over_tls()
        for action, on in _asked(resource, given):
            if role and not may(role, action, on, get_account_id(), get_region()):
                cause = f"User: {role} is not authorized to perform: {action} on resource: {on}"
                raise stepfunctions._ExecutionError(_DENIED.get(action.partition(":")[0], "AccessDenied"), cause)
        return invoke(resource, given)

    def delivered(target: Any, event: Any, rule: Any, view: Any = None) -> None:
        if _may_deliver(target, rule):
            deliver(target, event, rule, view)

    tell = cloudwatch._dispatch_alarm_actions

    def told(alarm: dict[str, Any], *rest: Any) -> None:
        tell({**alarm, **{kind: [*filter(_may_hear, alarm.get(kind) or [])] for kind in _ACTIONS}}, *rest)

    cloudwatch._dispatch_alarm_actions = told
    topics = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]
    create = topics["create"]

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        arn, told = create(logical_id, props, stack_name)
        if key := props.get("KmsMasterKeyId"):
            sns._topics[arn]["attributes"]["KmsMasterKeyId"] = key
        return arn, told

    scheduler._SCHEDULE_TICK_INTERVAL = _TICK_S
    topics["create"] = created
    stepfunctions._execute_task = executed
    stepfunctions._invoke_resource = invoked
    eventbridge._invoke_target = delivered


def _asked(resource: str, given: Any) -> Iterator[tuple[str, str]]:
    """What a task needs to be permitted, and on what."""
    region, account = get_region(), get_account_id()
    if ":function:" in resource:
        yield "lambda:InvokeFunction", resource
    elif resource.startswith("arn:aws:states:::lambda:invoke"):
        name = given["FunctionName"]
        whole = name if name.startswith("arn:") else f"arn:aws:lambda:{region}:{account}:function:{name}"
        yield "lambda:InvokeFunction", whole
    elif resource.startswith("arn:aws:states:::sns:publish"):
        yield "sns:Publish", given["TopicArn"]
        if key := (sns._topics.get(given["TopicArn"]) or {}).get("attributes", {}).get("KmsMasterKeyId"):
            whole = key if key.startswith("arn:") else f"arn:aws:kms:{region}:{account}:key/{key}"
            yield from ((action, whole) for action in _KEY_USES)
    elif resource.startswith("arn:aws:states:::sqs:sendMessage"):
        yield "sqs:SendMessage", f"arn:aws:sqs:{region}:{account}:{given['QueueUrl'].rpartition('/')[2]}"
    elif resource.startswith(_DYNAMODB):
        verb = resource.removeprefix(_DYNAMODB).partition(".")[0]
        yield f"dynamodb:{verb[0].upper()}{verb[1:]}", f"arn:aws:dynamodb:{region}:{account}:table/{given['TableName']}"
    elif resource.startswith(f"{_SDK}s3:"):
        verb = resource.removeprefix(f"{_SDK}s3:")
        yield f"s3:{verb[0].upper()}{verb[1:]}", f"arn:aws:s3:::{given['Bucket']}/{given['Key']}"


def _over_tls() -> None:
    """So services call each other, whoever began it."""
    iam_evaluator.pin_request_origin("127.0.0.1", True)


def _may_hear(topic: str) -> bool:
    """Whether the policy of a topic, where it is one, lets alarms of its account publish."""
    held = sns._topics.get(topic)
    _over_tls()
    asked = iam_evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action="sns:Publish",
        resource_arn=topic,
        region=get_region(),
        service_context={name: get_account_id() for name in ("aws:sourceaccount", "aws:sourceowner")},
    )
    policy = None if held is None else held["attributes"].get("Policy")
    verdict = iam_evaluator.evaluate_resource_policy(policy, asked, "cloudwatch.amazonaws.com")
    return held is None or str(verdict.decision) == "Allow"


def _may_deliver(target: Any, rule: Any) -> bool:
    account, region, arn = get_account_id(), get_region(), target.get("Arn", "")
    if ":states:" in arn:
        return may(target.get("RoleArn", ""), "states:StartExecution", arn, account, region)
    if ":lambda:" in arn and not target.get("RoleArn"):
        return may_be_invoked(arn, "events.amazonaws.com", rule.get("Arn", ""), account, region)
    return True
