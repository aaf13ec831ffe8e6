"""A stack that shows how an emulator behaves: an API, functions that tell what they got, a table."""

from __future__ import annotations

from typing import Any

from tests.aws.emulator.process import ACCOUNT, REGION
from tests.aws.emulator.versions import RUNTIME

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
        "Broken": _answer("DEFAULT_5XX", '{"shaped":$context.error.messageString}'),
    }
    for name, code in {"Echo": _ECHO, "Unasked": _ECHO, "Guard": _GUARD, "UnaskedGuard": _GUARD}.items():
        resources[name] = _of(
            "AWS::Lambda::Function", Runtime=RUNTIME, Handler="index.handler", Timeout=10,
            Role={"Fn::GetAtt": ["Role", "Arn"]}, Code={"ZipFile": code},
        )  # fmt: skip
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
            **{name: {"Value": {"Ref": name}} for name in ("Table", "Bucket", "Secret")},
        },
    }


def _of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def _role() -> dict[str, Any]:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    return _of("AWS::IAM::Role", AssumeRolePolicyDocument={"Version": "2012-10-17", "Statement": [trust]})


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
