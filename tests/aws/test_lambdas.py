"""The entries of the functions: events as API Gateway sends them, answers as it takes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest

from headgate import limits
from headgate.aws.admission import Admission, Turned
from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of
from headgate.aws.keys import DynamoKeys
from headgate.aws.layout import layout_of
from headgate.aws.serving import Serving
from headgate.aws.settings import Settings
from headgate.clock import ManualClock, SystemClock
from headgate.gate.verify import new_api_key
from tests.aws.behind import written
from tests.aws.emulator.process import Emulator
from tests.aws.tables import make_bucket, make_keys_table, make_table

pytestmark = pytest.mark.xdist_group("emulator")

SECRET = "0123456789abcdef0123456789abcdef"
APP = """
from headgate import ApiKey, App, Forbidden, Header, Jwt, Public, Reply, Secret, Signed, Unauthorized

jwt = Jwt(secret=Secret("TOKENS"), issuer="shop", audience="orders", scopes=("write",))


async def by_name(request):
    if "x-name" not in map(bytes.decode, request.headers):
        raise Unauthorized
    if request.headers[b"x-name"] == b"mallory":
        raise Forbidden
    return request.headers[b"x-name"].decode()


app = App("shop")
app.channel("/my/path", key="username", auth=Public(), read=True, indexes=["message"], attributes=["message", "n"])
app.channel("/trip", key="id", scope="principal", auth=ApiKey(), indexes=["to"])
app.channel("/request", key=Header("Idempotency-Key"), auth=jwt)
app.channel("/other", key="id", auth=jwt)
app.channel("/hooks", key="id", auth=Signed(Secret("HOOKS"), style="github"))
app.channel("/mine", key="id", auth=by_name)
app.channel("/many", key="id", many=True, auth=Public())
app.channel("/", name="root", auth=Public(), read=True)
"""


class Shop:
    """The app's functions, each made when a test first asks for it."""

    def __init__(self, emulator: Emulator, module: str) -> None:
        self.clock = ManualClock()
        self.app = app_of(Settings(f"{module}:app", "test"))
        self.settings = Settings(f"{module}:app", "test", bodies=make_bucket(emulator.client("s3")))
        self.emulator = emulator
        self._keys = make_keys_table(emulator.client("dynamodb"))
        self._secrets = emulator.client("secretsmanager")
        self._arns = {
            name: self._secrets.create_secret(Name=f"{name}-{uuid4().hex}", SecretString=SECRET)["ARN"]
            for name in ("TOKENS", "HOOKS")
        }
        self._made: dict[str, Serving] = {}
        self.tables: dict[str, str] = {}

    def serving(self, channel: str) -> Serving:
        if channel not in self._made:
            (found,) = (each for each in self.app.channels if each.name == channel)
            self.tables[channel] = make_table(self.emulator.client("dynamodb"), layout_of(found)).name
            secrets = {"HOOKS": self._arns["HOOKS"]} if channel == "hooks" else {}
            self._made[channel] = self.with_settings(channels=(channel,), table=self.tables[channel], secrets=secrets)
        return self._made[channel]

    def with_settings(self, **settings: Any) -> Serving:
        return Serving(self._environment(**settings), self.clock)

    def admission(self, *channels: str) -> Admission:
        return Admission(
            self._environment(channels=channels, keys=self._keys, secrets={"TOKENS": self._arns["TOKENS"]}), self.clock
        )

    def new_key(self, channel: str) -> tuple[str, str]:
        """A key, and its id."""
        key, row = new_api_key(channel, "a sender", self.clock.now_ms())
        DynamoKeys(self._keys, Clients(SystemClock()), self.clock).add_api_key(row)
        return key, row.id

    def rotate(self, name: str, value: str) -> None:
        self._secrets.put_secret_value(SecretId=self._arns[name], SecretString=value)

    def rows(self, channel: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.emulator.client("dynamodb").scan(TableName=self.tables[channel])["Items"]
        return rows

    def _environment(self, **settings: Any) -> Mapping[str, str]:
        values = {name: getattr(self.settings, name) for name in ("app", "stage", "bodies")}
        return {**self.emulator.env, **Settings(**{**values, **settings}).written()}


@pytest.fixture
def shop(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(emulator, written(tmp_path, APP, emulator, monkeypatch))


@pytest.fixture
def recorded(cases: Path) -> Callable[..., dict[str, Any]]:
    """A real-shaped event of API Gateway, with parts of it replaced."""

    def read(name: str, **parts: Any) -> dict[str, Any]:
        return {**json.loads((cases / "lambda_events" / f"{name}.json").read_text()), **parts}

    return read


def posted(path: str, body: Any, *, principal: str | None = None, **headers: str) -> dict[str, Any]:
    """A POST as API Gateway hands it over where every body counts as binary."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    context: dict[str, Any] = {"requestId": "r-1", "identity": {"sourceIp": "192.0.2.7"}}
    if principal is not None:
        context["authorizer"] = {"principalId": principal, "integrationLatency": 3}
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "requestContext": context,
        "body": base64.b64encode(content).decode(),
        "isBase64Encoded": True,
    }


def got(path: str, resource: str, *, principal: str | None = None, **query: str) -> dict[str, Any]:
    event = posted(path, b"", principal=principal)
    asked = {name: [value] for name, value in query.items()} or None
    return {**event, "httpMethod": "GET", "resource": resource, "body": None, "isBase64Encoded": False,
            "multiValueQueryStringParameters": asked}  # fmt: skip


def asked_by(path: str, resource: str | None = None, **headers: str) -> dict[str, Any]:
    """What API Gateway asks an authorizer."""
    event = posted(path, b"", **headers)
    del event["body"], event["isBase64Encoded"]
    arn = f"arn:aws:execute-api:eu-west-1:111122223333:abcdef/prod/POST{path}"
    return {**event, "type": "REQUEST", "methodArn": arn, "resource": resource or path}


def token(**claims: Any) -> str:
    now_s = ManualClock().now_ms() // 1000
    good = {"iss": "shop", "aud": "orders", "sub": "alice", "exp": now_s + 1_000, "scope": "write"}
    return jwt.encode({**good, **claims}, SECRET, "HS256")


def body_of(answer: dict[str, Any]) -> Any:
    text = answer["body"]
    return json.loads(base64.b64decode(text) if answer["isBase64Encoded"] else text)


# ------------------------------------------------------------------------------------------------- ingest and query


def test_a_recorded_post_is_stored_and_read_back(shop: Shop, recorded: Callable[..., dict[str, Any]]) -> None:
    serving = shop.serving("my-path")
    event = recorded("apigatewayeSchemaMiddlwareValidEvent", headers={"content-type": "application/json"})
    answer = serving.answer(event, 20)
    assert (answer["statusCode"], body_of(answer)) == (201, {"id": "lessa"})
    assert answer["multiValueHeaders"]["X-Request-Id"] == ["id="]
    again = serving.answer(event, 20)
    assert again["multiValueHeaders"]["Idempotency-Replayed"] == ["true"]
    read = body_of(serving.answer(got("/my/path/lessa", "/my/path/{key}"), 20))
    assert read["body"] == {"message": "hello world", "username": "lessa"}
    page = body_of(serving.answer(got("/my/path", "/my/path", message="hello world"), 20))
    assert [item["key"] for item in page["items"]] == ["lessa"]


def test_a_recorded_get_that_asks_for_no_index_is_the_callers_mistake(
    shop: Shop, recorded: Callable[..., dict[str, Any]]
) -> None:
    answer = shop.serving("my-path").answer(recorded("apiGatewayProxyEvent"), 20)
    assert answer["statusCode"] == 400
    assert body_of(answer)["type"] == "urn:headgate:problem:invalid_query"
    assert answer["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]


def test_a_recorded_post_from_a_web_page_has_to_say_that_it_is_json(
    shop: Shop, recorded: Callable[..., dict[str, Any]]
) -> None:
    assert shop.serving("my-path").answer(recorded("apigatewayeSchemaMiddlwareValidEvent"), 20)["statusCode"] == 415


def test_a_body_that_claims_to_be_base64_and_is_not_is_refused_as_any_other(
    shop: Shop, recorded: Callable[..., dict[str, Any]]
) -> None:
    event = recorded("apiGatewayProxyEvent_noVersionAuth", httpMethod="POST")
    assert shop.serving("my-path").answer(event, 20)["statusCode"] == 400


def test_a_recorded_event_of_another_kind_is_answered_and_nothing_of_it_stored(
    shop: Shop, recorded: Callable[..., dict[str, Any]]
) -> None:
    serving = shop.serving("my-path")
    for name in ("apiGatewayProxyV2Event", "sqsEvent", "eventBridgeEvent", "snsEvent"):
        assert serving.answer(recorded(name), 20)["statusCode"] in (404, 405)
    assert shop.rows("my-path") == []


def test_who_it_is_stands_in_the_request_context_and_nowhere_else(
    shop: Shop, recorded: Callable[..., dict[str, Any]]
) -> None:
    serving = shop.serving("trip")
    event = recorded("apiGatewayProxyEventPrincipalId", body='{"id": "1", "to": "Oslo"}')
    assert serving.answer(event, 20)["statusCode"] == 201
    (row,) = shop.rows("trip")
    assert (row["principal"], row["scope"]) == ({"S": "fake"}, {"S": "fake"})
    forged = posted("/trip", {"id": "2"}, principalId="fake", X_Principal_Id="fake", Authorization="Bearer fake")
    refused = serving.answer({**forged, "principalId": "fake", "authorizer": {"principalId": "fake"}}, 20)
    assert refused["statusCode"] == 401
    assert refused["multiValueHeaders"]["WWW-Authenticate"] == ['Bearer realm="trip"']
    assert len(shop.rows("trip")) == 1


@pytest.mark.parametrize("principal", ["", "a\nb", "x" * 256, 7, ["alice"], {"sub": "alice"}])
def test_a_principal_that_is_none_lets_nobody_in(shop: Shop, principal: Any) -> None:
    assert shop.serving("trip").answer(posted("/trip", {"id": "1"}, principal=principal), 20)["statusCode"] == 401


def test_readers_see_what_is_theirs(shop: Shop) -> None:
    serving = shop.serving("trip")
    for name in ("alice", "bob"):
        assert serving.answer(posted("/trip", {"id": "1", "to": name}, principal=name), 20)["statusCode"] == 201
    read = body_of(serving.answer(got("/trip/1", "/trip/{key}", principal="bob"), 20))
    assert read["body"]["to"] == "bob"
    assert body_of(serving.answer(got("/trip", "/trip", principal="bob", to="alice"), 20))["items"] == []


@pytest.mark.parametrize(
    "body", ['{"username":"a","n": 2.10,"x":12345678901234567890,"e":"\U0001f6b0 &+%"}', '{"username":"a"}'.ljust(900)]
)
def test_bytes_survive(shop: Shop, body: str) -> None:
    serving = shop.serving("my-path")
    assert serving.answer(posted("/my/path", body.encode()), 20)["statusCode"] == 201
    assert body.strip() in serving.answer(got("/my/path/a", "/my/path/{key}"), 20)["body"]


def test_bytes_that_are_no_text_are_refused_not_changed(shop: Shop) -> None:
    assert shop.serving("my-path").answer(posted("/my/path", b'{"username":"\xff"}'), 20)["statusCode"] == 400


@pytest.mark.parametrize("key", ["a/b", "100%", "%2F", "é", "a b", "a+b", ".."])
def test_a_key_is_read_from_the_path_as_it_was_written_there(shop: Shop, key: str) -> None:
    from urllib.parse import quote

    serving = shop.serving("my-path")
    assert serving.answer(posted("/my/path", {"username": key}), 20)["statusCode"] == 201
    read = serving.answer(got(f"/my/path/{quote(key, safe='')}", "/my/path/{key}"), 20)
    assert body_of(read)["key"] == key
    behind_a_domain = serving.answer(got(f"/v1/my/path/{quote(key, safe='')}", "/my/path/{key}"), 20)
    assert body_of(behind_a_domain)["key"] == key
    for path in (f"/my/path/{quote(key, safe='')}/timeline", f"/v1/my/path/{quote(key, safe='')}/timeline"):
        assert body_of(serving.answer(got(path, "/my/path/{key}/timeline"), 20))["key"] == key


def test_a_channel_at_the_root_is_served_too(shop: Shop) -> None:
    serving = shop.serving("root")
    key = body_of(serving.answer(posted("/", {"a": 1}), 20))["id"]
    assert body_of(serving.answer(got(f"/{key}", "/{key}"), 20))["body"] == {"a": 1}


def test_a_large_body_lies_in_the_bucket_and_goes_back_in_base64(shop: Shop) -> None:
    serving = shop.serving("my-path")
    large = {"username": "a", "text": "\U0001f6b0" * 500_000}
    channel = next(each for each in shop.app.channels if each.name == "my-path")
    channel.body_limit_bytes = limits.DIRECT_BODY.value
    sent = json.dumps(large, ensure_ascii=False).encode()
    assert serving.answer(posted("/my/path", sent), 20)["statusCode"] == 201
    (row,) = shop.rows("my-path")
    assert "body" not in row
    assert row["body_at"]["S"].startswith("my-path/kept/")
    answer = serving.answer(got("/my/path/a", "/my/path/{key}"), 20)
    assert answer["isBase64Encoded"]
    assert body_of(answer)["body"] == large
    assert len(json.dumps(answer)) < 6 * 1024 * 1024


def test_a_row_shows_the_declared_fields_beside_the_body(shop: Shop) -> None:
    serving = shop.serving("my-path")
    serving.answer(posted("/my/path", b'{"username": "a", "message": "hi", "n": 2.10}'), 20)
    serving.answer(posted("/my/path", {"username": "b", "message": "", "n": "x" * 1025}), 20)
    shown = {row["username"]["S"]: (row.get("message"), row.get("n")) for row in shop.rows("my-path")}
    assert shown == {"a": ({"S": "hi"}, {"S": "2.10"}), "b": (None, None)}


def test_a_batch_is_answered_item_by_item(shop: Shop) -> None:
    serving = shop.serving("many")
    items = [{"id": str(n)} for n in range(50)]
    answer = body_of(serving.answer(posted("/many", [*items, {"id": ""}, {"id": "7", "n": 1}]), 20))
    assert [item["status"] for item in answer["items"]] == ["stored"] * 50 + ["invalid", "conflict"]


def test_a_body_above_the_limit_is_413(shop: Shop) -> None:
    event = posted("/my/path", {"username": "x" * limits.BODY_DEFAULT.value})
    assert shop.serving("my-path").answer(event, 20)["statusCode"] == 413


def test_a_query_that_is_no_text_is_the_askers_mistake(shop: Shop) -> None:
    answer = shop.serving("my-path").answer(got("/my/path", "/my/path", message="\ud83d"), 20)
    assert (answer["statusCode"], body_of(answer)["type"]) == (400, "urn:headgate:problem:invalid_query")


def test_what_answers_a_head_has_no_body(shop: Shop) -> None:
    serving = shop.serving("my-path")
    serving.answer(posted("/my/path", {"username": "a"}), 20)
    answer = serving.answer({**got("/my/path/a", "/my/path/{key}"), "httpMethod": "HEAD"}, 20)
    assert (answer["statusCode"], answer["body"]) == (200, "")


def test_an_outage_is_503_with_a_time_to_come_back_and_nothing_of_its_reason(shop: Shop) -> None:
    serving = shop.with_settings(channels=("my-path",), table="a-table-that-is-gone")
    for event in (posted("/my/path", {"username": "a"}), got("/my/path/a", "/my/path/{key}")):
        answer = serving.answer(event, 20)
        assert answer["statusCode"] == 503
        assert answer["multiValueHeaders"]["Retry-After"] == ["1"]
        for word in ("a-table", "botocore", "Exception", "Traceback", "ResourceNotFound"):
            assert word not in answer["body"]


def test_secrets_that_cannot_be_had_are_503_and_no_way_in(shop: Shop) -> None:
    serving = shop.with_settings(channels=("hooks",), table="any", secrets={"HOOKS": "arn:aws:none"})
    answer = serving.answer(posted("/hooks", {"id": "1"}), 20)
    assert (answer["statusCode"], answer["multiValueHeaders"]["Retry-After"]) == (503, ["1"])
    assert answer["multiValueHeaders"]["X-Request-Id"] == ["r-1"]


# ----------------------------------------------------------------------------------------------- signed, and secrets


def signed(body: bytes, secret: str) -> dict[str, str]:
    return {"X_Hub_Signature_256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def test_a_signature_is_verified_where_the_body_is_and_a_rotated_secret_is_seen(shop: Shop) -> None:
    serving = shop.serving("hooks")
    body = b'{"id": "1"}'

    def status(secret: str) -> int:
        return int(serving.answer(posted("/hooks", body, **signed(body, secret)), 20)["statusCode"])

    assert status(SECRET) == 201
    assert status("another") == 401
    shop.rotate("HOOKS", "a new one")
    assert status(SECRET) == 201
    shop.clock.advance(301)
    assert status(SECRET) == 401
    assert status("a new one") == 201


# ------------------------------------------------------------------------------------------------------- authorizer


def statement(policy: dict[str, Any]) -> dict[str, Any]:
    (only,) = policy["policyDocument"]["Statement"]
    assert only["Action"] == "execute-api:Invoke"
    return dict(only)


def test_a_good_token_is_let_in_to_whatever_declares_the_same(shop: Shop) -> None:
    event = asked_by("/request", Authorization=f"Bearer {token()}")
    policy = shop.admission("request", "other").decide(event, 20)
    assert policy["principalId"] == "alice"
    api = "arn:aws:execute-api:eu-west-1:111122223333:abcdef/prod"
    assert statement(policy) == {
        "Effect": "Allow",
        "Action": "execute-api:Invoke",
        "Resource": [
            f"{api}/{route}"
            for at in ("request", "other")
            for route in (f"POST/{at}", f"GET/{at}", f"GET/{at}/*", f"HEAD/{at}", f"HEAD/{at}/*")
        ],
    }


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {token(exp=1)}"},
                {"Authorization": f"Bearer {token()}x"}, {"Authorization": f"Basic {token()}"}]
)  # fmt: skip
def test_missing_and_bad_credentials_are_the_one_word_that_means_401(shop: Shop, headers: dict[str, str]) -> None:
    with pytest.raises(Turned) as turned:
        shop.admission("request").decide(asked_by("/request", **headers), 20)
    assert str(turned.value) == "Unauthorized"


def test_good_credentials_that_may_not_are_denied_with_the_reason(shop: Shop) -> None:
    event = asked_by("/request", Authorization=f"Bearer {token(scope='read')}")
    policy = shop.admission("request").decide(event, 20)
    assert statement(policy)["Effect"] == "Deny"
    assert policy["context"]["reason"] == "insufficient_scope"


def test_an_api_key_opens_its_channel_by_either_header_until_it_is_removed(shop: Shop) -> None:
    admission = shop.admission("trip")
    key, id_ = shop.new_key("trip")
    for headers in ({"Authorization": f"Bearer {key}"}, {"X_Api_Key": key}):
        policy = admission.decide(asked_by("/trip", **headers), 20)
        assert (policy["principalId"], statement(policy)["Effect"]) == (id_, "Allow")
    DynamoKeys(shop._keys, Clients(SystemClock()), shop.clock).remove_api_key(id_)
    with pytest.raises(Turned, match=r"^Unauthorized$"):
        admission.decide(asked_by("/trip", X_Api_Key=key), 20)


def test_an_api_key_of_another_channel_is_denied(shop: Shop) -> None:
    key, _ = shop.new_key("orders")
    assert statement(shop.admission("trip").decide(asked_by("/trip", X_Api_Key=key), 20))["Effect"] == "Deny"


def test_a_function_of_the_users_decides_too(shop: Shop) -> None:
    admission = shop.admission("mine")
    policy = admission.decide(asked_by("/mine/1", "/mine/{key}", X_Name="carol"), 20)
    assert (policy["principalId"], statement(policy)["Effect"]) == ("carol", "Allow")
    assert statement(admission.decide(asked_by("/mine", X_Name="mallory"), 20))["Effect"] == "Deny"
    with pytest.raises(Turned, match=r"^Unauthorized$"):
        admission.decide(asked_by("/mine"), 20)


@pytest.mark.parametrize("below", ["", "/{key}", "/{key}/timeline"])
def test_whoever_may_read_a_channel_may_read_all_that_is_below_it(shop: Shop, below: str) -> None:
    key, id_ = shop.new_key("trip")
    event = {**asked_by(f"/trip{below}".replace("{key}", "1"), f"/trip{below}", X_Api_Key=key), "httpMethod": "GET"}
    policy = shop.admission("trip").decide(event, 20)
    assert (policy["principalId"], statement(policy)["Effect"]) == (id_, "Allow")
    assert any(fnmatchcase(f".../prod/GET{event['path']}", f"*{route[route.index('/prod'):]}")
               for route in statement(policy)["Resource"])  # fmt: skip


def test_what_is_below_a_channel_and_none_of_its_addresses_lets_nobody_in(shop: Shop) -> None:
    key, _ = shop.new_key("trip")
    for resource in ("/trip/{key}/body", "/trips", "/{key}", "/trip/{key}/timeline/1"):
        with pytest.raises(Turned, match="none of a channel"):
            shop.admission("trip").decide(asked_by("/trip/1", resource, X_Api_Key=key), 20)


def test_recorded_events_that_are_not_for_us_let_nobody_in(shop: Shop, recorded: Callable[..., dict[str, Any]]) -> None:
    admission = shop.admission("request")
    for name in ("apiGatewayAuthorizerTokenEvent", "apiGatewayAuthorizerV2Event", "sqsEvent"):
        with pytest.raises(Turned):
            admission.decide(recorded(name), 20)
    with pytest.raises(Turned, match=r"^Unauthorized$"):
        admission.decide(recorded("apiGatewayAuthorizerRequestEvent"), 20)


def test_what_breaks_in_the_authorizer_lets_nobody_in_and_tells_nothing(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    admission = shop.admission("mine")
    with pytest.raises(Turned) as turned:
        admission.decide(asked_by("/mine", X_Name="x\ny"), 20)
    assert str(turned.value) == "no decision could be made"
    assert "x\\ny" not in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------- telemetry


def test_what_happened_is_told_as_json_lines_and_counted_once(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    serving = shop.serving("my-path")
    serving.answer(posted("/my/path", {"username": "a", "message": "a-secret"}), 20)
    serving.answer(posted("/my/path", {"username": "a", "message": "another-secret"}, Authorization="a-token"), 20)
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    counted = [line for line in lines if "_aws" in line]
    assert [(line["channel"], line.get("messages"), line.get("refused")) for line in counted] == [
        ("my-path", 1, None),
        ("my-path", None, 1),
    ]
    metric = counted[1]["_aws"]["CloudWatchMetrics"][0]
    assert metric["Namespace"] == "headgate"
    assert metric["Dimensions"] == [
        ["app", "stage", "channel"], ["app", "stage", "channel", "reason", "status"]
    ]  # fmt: skip
    (refused,) = (line for line in lines if line.get("message") == "refused")
    told = {name: refused[name] for name in ("level", "app", "stage", "channel", "reason", "status", "client")}
    assert told == {
        "level": "WARNING", "app": "shop", "stage": "test", "channel": "my-path", "reason": "conflict", "status": 409,
        "client": "192.0.2.7",
    }  # fmt: skip
    assert "secret" not in out
    assert "a-token" not in out
