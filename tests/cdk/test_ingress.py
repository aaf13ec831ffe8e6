"""The API: its methods are those of the description, and what API Gateway decides by itself is decided as locally."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headgate import ApiKey, App, Cors, Iam, Jwt, Public, Secret, Throttle
from headgate.cdk.ingress import CACHE_S
from headgate.declare.stage import Stage
from headgate.describe.openapi import openapi
from headgate.testing.app import ORIGIN
from headgate.testing.app import app as conformance_app
from tests.cdk.stacks import Node, Synthesized, Template, functions, spelled, synthesize

METHOD, RESPONSE = "AWS::ApiGateway::Method", "AWS::ApiGateway::GatewayResponse"


def routes(template: Template) -> dict[tuple[str, str], Node]:
    """Every method by its name and path."""
    resources = template.all("AWS::ApiGateway::Resource")

    def path(of: Any) -> str:
        if "Ref" not in of:
            return ""
        node = resources[of["Ref"]]["Properties"]
        return f"{path(node['ParentId'])}/{node['PathPart']}"

    return {(it["HttpMethod"], path(it["ResourceId"]) or "/"): it for it in template.properties(METHOD)}


def duty(template: Template, method: Node) -> str:
    """Which function serves a method, by channel and duty."""
    called = method["Integration"]["Uri"]["Fn::Join"][1]
    (function,) = [part["Fn::GetAtt"][0] for part in called if isinstance(part, dict) and "Fn::GetAtt" in part]
    properties = template.all("AWS::Lambda::Function")[function]["Properties"]
    return next(name for name, it in functions(template).items() if it == properties)


def response(template: Template, kind: str) -> Node:
    return template.one(RESPONSE, ResponseType=kind)


def app_of(*channels: dict[str, Any]) -> App:
    app = App("shop")
    for options in channels:
        app.channel(**options)
    return app


# ------------------------------------------------------------------------------------------------------------ routes


_UNKNOWN = ("/", "/{proxy+}")  # where the gate says that there is nothing


def test_the_methods_are_those_of_the_description(conformance: Synthesized) -> None:
    paths: dict[str, dict[str, Any]] = openapi(conformance_app)["paths"]  # type: ignore[assignment]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    found = routes(conformance.service).keys()
    assert described <= found
    others = {route for route in found - described if route[1] not in _UNKNOWN}
    heads = {(method.replace("GET", "HEAD"), path) for method, path in described if method == "GET"}
    assert others == heads | {("OPTIONS", "/browser")} | {("ANY", path) for path in paths}


def test_posts_go_to_ingest_and_reads_to_query(conformance: Synthesized) -> None:
    found = routes(conformance.service)
    for (method, path), made in found.items():
        assert made["Integration"]["Type"] == "AWS_PROXY"
        if path not in _UNKNOWN:
            name = path.split("/")[1]
            reads = method in ("GET", "HEAD") or "{key}" in path
            assert duty(conformance.service, made) == f"{name}.{'query' if reads else 'ingest'}"


def test_a_channel_at_the_root_is_the_root(tmp_path: Path) -> None:
    made = synthesize(tmp_path, app_of({"path": "/", "auth": Public(), "read": True}))
    assert routes(made.service).keys() == {
        ("POST", "/"), ("ANY", "/"), ("GET", "/{key}"), ("HEAD", "/{key}"), ("ANY", "/{key}"),
        ("GET", "/{key}/timeline"), ("HEAD", "/{key}/timeline"), ("ANY", "/{key}/timeline"),
    }  # fmt: skip


def test_bytes_come_through_as_they_were_sent(message: Synthesized) -> None:
    (api,) = message.service.properties("AWS::ApiGateway::RestApi")
    assert api["BinaryMediaTypes"] == ["*/*"]
    assert "MinimumCompressionSize" not in api
    assert "Policy" not in api
    assert api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_the_stage_of_the_api_is_prod_and_so_end_the_urls(message: Synthesized, orders: Synthesized) -> None:
    for made in (message, orders):
        (stage,) = made.service.properties("AWS::ApiGateway::Stage")
        assert stage["StageName"] == "prod"
    outputs = orders.service.body["Outputs"]
    assert outputs["ApiUrl"]["Value"]["Fn::Join"][1][-1] == "/"
    assert outputs["OrdersUrl"]["Value"]["Fn::Join"][1][-1] == "/orders"


def test_the_api_is_deployed_anew_when_what_it_answers_changes(tmp_path: Path) -> None:
    def deployment(folder: str, *channels: dict[str, Any]) -> str:
        (tmp_path / folder).mkdir()
        (name,) = synthesize(tmp_path / folder, app_of(*channels)).service.all("AWS::ApiGateway::Deployment")
        return name

    token = Jwt(secret=Secret("KEY"), issuer="shop", audience="shop")
    first = deployment("first", {"path": "/a", "auth": Public()})
    assert deployment("same", {"path": "/a", "auth": Public(), "body_limit_bytes": 10}) == first
    others = [
        deployment("another channel", {"path": "/a", "auth": Public()}, {"path": "/b", "auth": Public()}),
        deployment("reads", {"path": "/a", "auth": Public(), "read": True}),
        deployment("auth", {"path": "/a", "auth": ApiKey(), "read": False}),
        deployment("other credentials", {"path": "/a", "auth": token, "read": False}),
        deployment("answers", {"path": "/a", "auth": Public(), "cors": Cors(("*",))}),
    ]
    assert len({first, *others}) == 6


# -------------------------------------------------------------------------------------------------------- who is it


def test_each_auth_is_asked_for_at_the_door_it_belongs_to(conformance: Synthesized) -> None:
    found = routes(conformance.service)
    kinds = {path: found["POST", path]["AuthorizationType"] for method, path in found if method == "POST"}
    assert kinds == {
        "/notes": "CUSTOM", "/nested": "CUSTOM", "/requests": "CUSTOM", "/each": "CUSTOM", "/all": "CUSTOM",
        "/broken": "CUSTOM", "/iam": "AWS_IAM", "/any": "NONE", "/silent": "NONE", "/throttled": "NONE",
        "/small": "NONE", "/brief": "NONE", "/hooks": "NONE", "/browser": "NONE", "/shaped": "NONE",
    }  # fmt: skip
    for (method, path), made in found.items():
        if method in ("GET", "HEAD"):
            post = found["POST", path.partition("/{key}")[0]]
            assert (made["AuthorizationType"], made.get("AuthorizerId")) == (
                post["AuthorizationType"],
                post.get("AuthorizerId"),
            )


def test_what_opens_without_credentials_stores_and_tells_nothing(conformance: Synthesized) -> None:
    for (method, _), made in routes(conformance.service).items():
        if method in ("ANY", "OPTIONS"):
            assert made["AuthorizationType"] == "NONE"


def test_an_authorizer_is_called_as_its_channel_whatever_the_app_is_called(conformance: Synthesized) -> None:
    names = [it["Name"] for it in conformance.service.properties("AWS::ApiGateway::Authorizer")]
    assert sorted(names) == ["Broken", "Nested", "Notes", "Requests"]


def test_channels_that_declare_the_same_auth_share_an_authorizer(conformance: Synthesized) -> None:
    found = routes(conformance.service)
    same = {found["POST", path]["AuthorizerId"]["Ref"] for path in ("/requests", "/each", "/all")}
    other = {found["POST", path]["AuthorizerId"]["Ref"] for path in ("/notes", "/nested", "/broken")}
    assert (len(same), len(other), len(same & other)) == (1, 3, 0)


def test_decisions_about_tokens_are_kept_for_a_minute_by_token_and_others_not_at_all(conformance: Synthesized) -> None:
    found = routes(conformance.service)
    authorizers = conformance.service.all("AWS::ApiGateway::Authorizer")

    def settings(path: str) -> tuple[str, int, object]:
        it = authorizers[found["POST", path]["AuthorizerId"]["Ref"]]["Properties"]
        return it["Type"], it["AuthorizerResultTtlInSeconds"], it.get("IdentitySource")

    assert CACHE_S == 60
    assert settings("/requests") == settings("/nested") == ("REQUEST", 60, "method.request.header.Authorization")
    # A key comes in one of two headers, and API Gateway would ask for both; a function may look at anything.
    assert settings("/notes")[:2] == settings("/broken")[:2] == ("REQUEST", 0)
    assert not settings("/notes")[2]


def test_api_gateway_alone_may_call_the_functions(conformance: Synthesized) -> None:
    permissions = conformance.service.properties("AWS::Lambda::Permission")
    for permission in permissions:
        assert permission["Principal"] == "apigateway.amazonaws.com"
        assert ":execute-api:" in spelled(permission["SourceArn"])
    called = {permission["FunctionName"]["Fn::GetAtt"][0] for permission in permissions}
    assert called == conformance.service.all("AWS::Lambda::Function").keys()


# ------------------------------------------------------------------------------------------- throttles, logs, answers


def test_throttles_are_those_of_the_channels(conformance: Synthesized) -> None:
    (stage,) = conformance.service.properties("AWS::ApiGateway::Stage")
    settings = {(it["HttpMethod"], it["ResourcePath"]): it for it in stage["MethodSettings"]}
    assert settings.keys() == {("*", "/*"), ("POST", "/~1throttled")}
    throttled = settings["POST", "/~1throttled"]
    assert (throttled["ThrottlingRateLimit"], throttled["ThrottlingBurstLimit"]) == (1, 3)


def test_a_throttle_of_the_root_is_on_the_root(tmp_path: Path) -> None:
    made = synthesize(tmp_path, app_of({"path": "/", "auth": Public(), "throttle": Throttle(0.5, 2)}))
    (stage,) = made.service.properties("AWS::ApiGateway::Stage")
    ((path, rate),) = [(it["ResourcePath"], it["ThrottlingRateLimit"]) for it in stage["MethodSettings"][1:]]
    assert (path, rate) == ("/", 0.5)


def test_what_is_logged_tells_of_requests_but_not_what_was_in_them(conformance: Synthesized) -> None:
    (stage,) = conformance.service.properties("AWS::ApiGateway::Stage")
    for settings in stage["MethodSettings"]:
        assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("ERROR", False)
    line = json.loads(stage["AccessLogSetting"]["Format"])
    assert {
        "requestTime", "requestId", "httpMethod", "path", "resourcePath", "status", "responseLatency",
    } <= line.keys()  # fmt: skip
    assert all(value.startswith("$context.") for value in line.values())


def test_the_role_that_logs_are_written_with_is_only_made_where_the_stage_says_so(
    message: Synthesized, tmp_path: Path
) -> None:
    assert not message.service.all("AWS::ApiGateway::Account")
    app = app_of({"path": "/a", "auth": Public()})
    made = synthesize(tmp_path, app, Stage("dev", account_log_role=True))
    (account,) = made.service.all("AWS::ApiGateway::Account").values()
    assert account["DeletionPolicy"] == "Retain"
    (stage,) = made.service.all("AWS::ApiGateway::Stage").values()
    assert next(iter(made.service.all("AWS::ApiGateway::Account"))) in stage["DependsOn"]


ANSWERS = [
    ("UNAUTHORIZED", 401, "unauthorized"),
    ("ACCESS_DENIED", 403, "forbidden"),
    ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found"),
    ("REQUEST_TOO_LARGE", 413, "too_large"),
    ("THROTTLED", 429, "throttled"),
    ("QUOTA_EXCEEDED", 429, "throttled"),
    ("AUTHORIZER_FAILURE", 503, "unavailable"),
    ("INTEGRATION_FAILURE", 503, "unavailable"),
    ("INTEGRATION_TIMEOUT", 503, "unavailable"),
    ("DEFAULT_5XX", 503, "unavailable"),
]


@pytest.mark.parametrize(("kind", "status", "reason"), ANSWERS)
def test_api_gateway_answers_in_our_words_and_shape(orders: Synthesized, kind: str, status: int, reason: str) -> None:
    answer = response(orders.service, kind)
    problem = json.loads(answer["ResponseTemplates"]["application/json"])
    assert answer["StatusCode"] == str(problem["status"]) == str(status)
    assert problem["type"] == f"urn:headgate:problem:{reason}"
    assert problem["request_id"] == "$context.requestId"
    assert problem.keys() == {"type", "title", "status", "detail", "message", "errors", "request_id"}
    headers = answer["ResponseParameters"]
    assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    assert headers["gatewayresponse.header.X-Request-Id"] == "context.requestId"
    assert ("gatewayresponse.header.Retry-After" in headers) == (status in (429, 503))
    assert ("gatewayresponse.header.WWW-Authenticate" in headers) == (status == 401)


def test_no_case_is_left_to_the_words_of_aws(orders: Synthesized) -> None:
    answers = orders.service.properties(RESPONSE)
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= {it["ResponseType"] for it in answers}
    assert (
        len(answers) == 21
    )  # https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
    for answer in answers:
        text = answer["ResponseTemplates"]["application/json"]
        assert "$context.error" not in text
        assert int(answer["StatusCode"]) == json.loads(text)["status"]


def test_where_signatures_are_asked_for_an_unsigned_request_is_403_and_an_unknown_address_404(
    conformance: Synthesized,
) -> None:
    assert response(conformance.service, "MISSING_AUTHENTICATION_TOKEN")["StatusCode"] == "403"
    rest = routes(conformance.service)["ANY", "/{proxy+}"]
    assert duty(conformance.service, rest) == "notes.ingest"


def test_a_channel_at_the_root_leaves_no_room_for_other_addresses(tmp_path: Path) -> None:
    made = synthesize(tmp_path, app_of({"path": "/", "auth": Iam()}))
    assert all("{proxy+}" not in path for _, path in routes(made.service))


def test_a_web_page_may_read_the_answers_where_a_channel_lets_it_in(
    conformance: Synthesized, orders: Synthesized, tmp_path: Path
) -> None:
    def allowed(template: Template) -> object:
        return response(template, "THROTTLED")["ResponseParameters"].get(
            "gatewayresponse.header.Access-Control-Allow-Origin"
        )

    assert allowed(conformance.service) == f"'{ORIGIN}'"
    assert allowed(orders.service) is None
    several = app_of({"path": "/a", "auth": Public(), "cors": Cors(("https://a.example", "https://b.example"))})
    assert allowed(synthesize(tmp_path, several).service) == "'*'"
