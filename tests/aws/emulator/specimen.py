"""A stack that shows how an emulator behaves: an API, functions that tell what they got, a table."""

from __future__ import annotations

import json
from typing import Any

from tests.aws.emulator.feeds import FEEDS
from tests.aws.emulator.process import ACCOUNT, REGION
from tests.aws.emulator.versions import RUNTIME

_TOLD = (
    "Table", "Bucket", "Secret", "Letters", "Barred", "Dead", "Log", "Alarm", "Batches", "Machine", "Started", "Sends",
    "Posts", "Keyless", "Putting", "Reads", "Picky", "Heard",
    "Mumbled",
)  # fmt: skip
TTL_ATTRIBUTE = "expires_at"

_ECHO = """
import importlib.util, json, sys

def handler(event, context):
    if (event.get("queryStringParameters") or {}).get("raise"):
        raise ValueError("the secret is 4711")
    client = "awslambdaric" if "awslambdaric.bootstrap" in sys.modules else "another"
    seen = {"client": client, "pydantic": importlib.util.find_spec("pydantic") is not None}
    headers = {"WWW-Authenticate": "Bearer"}
    return {"statusCode": 200, "headers": headers, "body": json.dumps({**event, "seen": seen})}
"""
_GUARD = """
def handler(event, context):
    shown = next(value for name, value in event["headers"].items() if name.lower() == "authorization")
    if shown not in ("allow", "deny"):
        raise Exception("Unauthorized")
    statement = {"Action": "execute-api:Invoke", "Effect": shown.title(), "Resource": event["methodArn"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": "someone", "policyDocument": policy, "context": {"reason": "because"}}
"""

_BATCHES = """
import boto3

def handler(event, context):
    entry = {"Id": "0", "MessageBody": "x"}
    told = boto3.client("sqs").send_message_batch(QueueUrl=event["queue"], Entries=[entry])
    return len(told["Successful"])
"""
_SENDS = """
import boto3

def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody="x")
"""
_READS = """
import boto3

def handler(event, context):
    log = boto3.client("kinesis")
    at = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    return len(log.get_records(ShardIterator=log.get_shard_iterator(StreamName=event["stream"], **at)["ShardIterator"]))
"""
_MUMBLES = """
def handler(event, context):
    return {"batchItemFailures": [{"foo": "notvalid"}]}
"""
_PICKY = """
import base64

def handler(event, context):
    records = [record["kinesis"] for record in event["Records"]]
    bad = [record["sequenceNumber"] for record in records if base64.b64decode(record["data"]) == b"bad"]
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in bad]}
"""


def template() -> dict[str, Any]:
    """The template; no part of it needs the CDK's bootstrap."""
    resources: dict[str, Any] = {
        "Role": _role(),
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
            },
        },
        "Bucket": _of("AWS::S3::Bucket", Tags=[{"Key": "of", "Value": "the template"}]),
        "Secret": _of("AWS::SecretsManager::Secret", SecretString="4711"),
        "Api": _of("AWS::ApiGateway::RestApi", Name="specimen", BinaryMediaTypes=["*/*"]),
        "Denied": _answer("ACCESS_DENIED", '{"why":"$context.authorizer.reason"}'),
        **{name: _of("AWS::SQS::Queue") for name in ("Letters", "Barred", "Dead")},
        "Log": _of("AWS::Kinesis::Stream", ShardCount=1),
        "Alarm": _of(
            "AWS::CloudWatch::Alarm",
            Namespace="specimen",
            MetricName="bad",
            Statistic="Sum",
            Period=60,
            Dimensions=[{"Name": "of", "Value": "one"}],
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[{"Ref": "Closed"}],
        ),
        "SendingRole": _role("apigateway.amazonaws.com", "sqs:SendMessage"),
        "PickyRole": _role("lambda.amazonaws.com", "sqs:SendMessage", *FEEDS["kinesis"]),
        "Picky": _function("PickyRole", _PICKY),
        "BatchesRole": _role("lambda.amazonaws.com", "sqs:SendMessage"),
        "Batches": _function("BatchesRole", _BATCHES),
        "Sends": _function("BatchesRole", _SENDS),
        "Posts": _of("AWS::SQS::Queue"),
        "UnaskedRule": _rule("calls", {"Id": "it", "Arn": {"Fn::GetAtt": ["Sends", "Arn"]}, "Input": _POSTED}),
        "IdleRole": _role("states.amazonaws.com"),
        "Machine": _machine({"Type": "Task", "Resource": "${echo}", "End": True}, echo={"Fn::GetAtt": ["Echo", "Arn"]}),
        "Started": _machine({"Type": "Succeed"}),
        "Key": _of("AWS::KMS::Key", KeyPolicy={"Version": "2012-10-17", "Statement": []}),
        "Topic": _of("AWS::SNS::Topic", KmsMasterKeyId={"Fn::GetAtt": ["Key", "Arn"]}),
        "TellingRole": _role("states.amazonaws.com", "sns:Publish"),
        "Keyless": _machine(
            {
                "Type": "Task",
                "Resource": "arn:aws:states:::sns:publish",
                "Parameters": {"TopicArn": "${topic}", "Message": "x"},
                "End": True,
            },
            "TellingRole",
            topic={"Ref": "Topic"},
        ),
        "StartingRule": _rule(
            "starts", {"Id": "it", "Arn": {"Ref": "Started"}, "RoleArn": {"Fn::GetAtt": ["IdleRole", "Arn"]}}
        ),
        "Heard": _of("AWS::SQS::Queue"),
        "HeardPolicy": _of(
            "AWS::SQS::QueuePolicy",
            Queues=[{"Ref": "Heard"}],
            PolicyDocument=_policy("Allow", "sqs:SendMessage", {"Fn::GetAtt": ["Heard", "Arn"]}),
        ),
        "Closed": _of(
            "AWS::SNS::Topic",
            Subscription=[{"Protocol": "sqs", "Endpoint": {"Fn::GetAtt": ["Heard", "Arn"]}}],
        ),
        "ClosedPolicy": _of(
            "AWS::SNS::TopicPolicy",
            Topics=[{"Ref": "Closed"}],
            PolicyDocument=_policy("Allow", "sns:Subscribe", {"Ref": "Closed"}),
        ),
        "PuttingRole": _role("states.amazonaws.com", "s3:PutObject"),
        "Putting": _machine(
            {
                "Type": "Task",
                "Resource": "arn:aws:states:::aws-sdk:s3:putObject",
                "Parameters": {"Bucket": "${bucket}", "Key": "put.json", "Body.$": "$"},
                "End": True,
            },
            "PuttingRole",
            bucket={"Ref": "Bucket"},
        ),
        "ReadsRole": _role(
            "lambda.amazonaws.com",
            "kinesis:GetShardIterator",
            "kinesis:GetRecords",
            on={"Fn::GetAtt": ["Log", "Arn"]},
        ),
        "Reads": _function("ReadsRole", _READS),
        "PickyFeed": _of(
            "AWS::Lambda::EventSourceMapping",
            FunctionName={"Ref": "Picky"},
            BatchSize=10,
            EventSourceArn={"Fn::GetAtt": ["Log", "Arn"]},
            StartingPosition="TRIM_HORIZON",
            FunctionResponseTypes=["ReportBatchItemFailures"],
            MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": {"Fn::GetAtt": ["Dead", "Arn"]}}},
        ),
        "Mumbled": _of("AWS::SQS::Queue"),
        "MumblesRole": _role("lambda.amazonaws.com", *FEEDS["sqs"]),
        "Mumbles": _function("MumblesRole", _MUMBLES),
        "MumblesFeed": _of(
            "AWS::Lambda::EventSourceMapping",
            FunctionName={"Ref": "Mumbles"},
            EventSourceArn={"Fn::GetAtt": ["Mumbled", "Arn"]},
            FunctionResponseTypes=["ReportBatchItemFailures"],
        ),
        "BarredFeed": _of(
            "AWS::Lambda::EventSourceMapping",
            FunctionName={"Ref": "Echo"},
            EventSourceArn={"Fn::GetAtt": ["Barred", "Arn"]},
        ),
        "Broken": _answer("DEFAULT_5XX", '{"shaped":$context.error.messageString}'),
    }
    for name, code in {"Echo": _ECHO, "Unasked": _ECHO, "Guard": _GUARD, "UnaskedGuard": _GUARD}.items():
        resources[name] = _function("Role", code)
        if not name.startswith("Unasked"):
            resources[f"{name}Asked"] = _of(
                "AWS::Lambda::Permission", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com",
                FunctionName={"Fn::GetAtt": [name, "Arn"]},
                SourceArn={"Fn::Sub": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:${{Api}}/*"},
            )  # fmt: skip
    for guard in ("Guard", "UnaskedGuard"):
        resources[f"{guard}izer"] = _of(
            "AWS::ApiGateway::Authorizer", RestApiId={"Ref": "Api"}, Name=guard, Type="REQUEST",
            AuthorizerUri=_invocation(guard), IdentitySource="method.request.header.Authorization",
            AuthorizerResultTtlInSeconds=60,
        )  # fmt: skip
    methods = [
        _path(resources, "echo", "Echo"),
        _path(resources, "{part}", "Echo", below="echo"),
        _path(resources, "narrow", "Echo"),
        _path(resources, "unasked", "Unasked"),
        _path(resources, "guarded", "Echo", "Guardizer"),
        _path(resources, "misguarded", "Echo", "UnaskedGuardizer"),
        _path(resources, "signed", "Echo", iam=True),
    ]
    methods.append(_letters(resources))
    narrow = {"ResourcePath": "/~1narrow", "HttpMethod": "POST", "ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 1}
    resources["Deployment"] = {
        **_of("AWS::ApiGateway::Deployment", RestApiId={"Ref": "Api"}),
        "DependsOn": [*methods, "Denied", "Broken"],
    }
    resources["Stage"] = _of(
        "AWS::ApiGateway::Stage", RestApiId={"Ref": "Api"}, StageName="prod", DeploymentId={"Ref": "Deployment"},
        MethodSettings=[narrow],
    )  # fmt: skip
    url = {"Fn::Sub": "https://${Api}.execute-api." + REGION + ".amazonaws.com/prod/"}
    return {
        "Resources": resources,
        "Outputs": {
            "Url": {"Value": url},
            **{name: {"Value": {"Ref": name}} for name in _TOLD},
        },
    }


def share_template() -> dict[str, Any]:
    """An alarm of metric math: of the share of what is bad in what was looked at, at most a minute ago."""
    of = {"Period": 60, "Stat": "Sum"}
    metrics = [
        {"Id": "share", "Expression": "IF(looked > 0, bad / looked, 0)"},
        *(
            {
                "Id": name,
                "MetricStat": {"Metric": {"Namespace": "share", "MetricName": name}, **of},
                "ReturnData": False,
            }
            for name in ("bad", "looked")
        ),
    ]
    return {
        "Resources": {
            "Share": _of(
                "AWS::CloudWatch::Alarm", AlarmName="share", Metrics=metrics, EvaluationPeriods=1, Threshold=0.3,
                ComparisonOperator="GreaterThanOrEqualToThreshold", TreatMissingData="notBreaching",
            )
        }
    }  # fmt: skip


_POSTED = {"Fn::Sub": '{"queue": "${Posts}"}'}


def _rule(detail: str, target: dict[str, Any]) -> dict[str, Any]:
    """A rule for events of ours with that detail type."""
    return _of("AWS::Events::Rule", EventPattern={"source": ["specimen"], "detail-type": [detail]}, Targets=[target])


def _machine(state: dict[str, Any], role: str = "IdleRole", **known: Any) -> dict[str, Any]:
    """A machine of one state."""
    document = {"StartAt": "only", "States": {"only": state}}
    return _of(
        "AWS::StepFunctions::StateMachine", RoleArn={"Fn::GetAtt": [role, "Arn"]},
        DefinitionString=json.dumps(document), DefinitionSubstitutions=known,
    )  # fmt: skip


def _of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def _policy(effect: str, action: str, resource: Any) -> dict[str, Any]:
    """A policy for everybody."""
    statement = {"Effect": effect, "Principal": {"AWS": "*"}, "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _role(service: str = "lambda.amazonaws.com", *actions: str, on: Any = "*") -> dict[str, Any]:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
    allowed = {"Effect": "Allow", "Action": [*actions], "Resource": on}
    own = {"PolicyName": "own", "PolicyDocument": {"Version": "2012-10-17", "Statement": [allowed]}}
    return _of(
        "AWS::IAM::Role", AssumeRolePolicyDocument={"Version": "2012-10-17", "Statement": [trust]},
        Policies=[own] if actions else [],
    )  # fmt: skip


def _function(role: str, code: str) -> dict[str, Any]:
    return _of(
        "AWS::Lambda::Function", Runtime=RUNTIME, Handler="index.handler", Timeout=10,
        Role={"Fn::GetAtt": [role, "Arn"]}, Code={"ZipFile": code},
    )  # fmt: skip


def _letters(resources: dict[str, Any]) -> str:
    """A method that puts what it gets into a queue, itself."""
    uri = {"Fn::Sub": f"arn:aws:apigateway:{REGION}:sqs:path/{ACCOUNT}/${{Letters.QueueName}}"}
    inside = "$context.requestId $context.requestTimeEpoch $input.body"
    resources["lettersPath"] = _of(
        "AWS::ApiGateway::Resource", RestApiId={"Ref": "Api"}, PathPart="letters",
        ParentId={"Fn::GetAtt": ["Api", "RootResourceId"]},
    )  # fmt: skip
    integration = {
        "Type": "AWS", "IntegrationHttpMethod": "POST", "Uri": uri, "ContentHandling": "CONVERT_TO_TEXT",
        "Credentials": {"Fn::GetAtt": ["SendingRole", "Arn"]},
        "RequestParameters": {"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
        "RequestTemplates": {
            "application/json": f'#set($all = "{inside}")Action=SendMessage&MessageBody=$util.urlEncode($all)'
        },
        "IntegrationResponses": [
            {"StatusCode": 202, "ResponseTemplates": {"application/json": '{"id":"$context.requestId"}'}}
        ],
    }  # fmt: skip
    resources["lettersMethod"] = _of(
        "AWS::ApiGateway::Method", RestApiId={"Ref": "Api"}, ResourceId={"Ref": "lettersPath"}, HttpMethod="POST",
        AuthorizationType="NONE", Integration=integration, MethodResponses=[{"StatusCode": 202}],
    )  # fmt: skip
    return "lettersMethod"


def _answer(kind: str, body: str) -> dict[str, Any]:
    return _of(
        "AWS::ApiGateway::GatewayResponse", RestApiId={"Ref": "Api"}, ResponseType=kind,
        ResponseTemplates={"application/json": body},
    )  # fmt: skip


def _invocation(function: str) -> dict[str, Any]:
    path = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions"
    return {"Fn::Sub": f"{path}/${{{function}.Arn}}/invocations"}


def _path(
    resources: dict[str, Any], name: str, function: str, authorizer: str = "", below: str = "", iam: bool = False
) -> str:
    parent = {"Ref": f"{below}Path"} if below else {"Fn::GetAtt": ["Api", "RootResourceId"]}
    part, name = name, name.strip("{}")
    resources[f"{name}Path"] = _of(
        "AWS::ApiGateway::Resource", RestApiId={"Ref": "Api"}, PathPart=part, ParentId=parent,
    )  # fmt: skip
    auth = {"AuthorizationType": "CUSTOM", "AuthorizerId": {"Ref": authorizer}} if authorizer else {}
    if iam:
        auth = {"AuthorizationType": "AWS_IAM"}
    resources[f"{name}Method"] = _of(
        "AWS::ApiGateway::Method", RestApiId={"Ref": "Api"}, ResourceId={"Ref": f"{name}Path"}, HttpMethod="ANY",
        Integration={"Type": "AWS_PROXY", "IntegrationHttpMethod": "POST", "Uri": _invocation(function)},
        **(auth or {"AuthorizationType": "NONE"}),
    )  # fmt: skip
    return f"{name}Method"
