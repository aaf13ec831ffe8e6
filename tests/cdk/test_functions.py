"""The functions: one for each duty, with what it runs on, what it is told, and exactly what it may do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate import ApiKey, App, Env, Jwt, Public, Queued, Secret
from headgate.aws.settings import Settings
from headgate.declare.stage import LOG_DAYS, Stage
from headgate.errors import Misuse
from tests.cdk.stacks import FUNCTION, Synthesized, functions, grants, spelled, synthesize

TABLES = "arn:AWS::Partition:dynamodb:AWS::Region:AWS::AccountId:table/conformance-dev-data-"
BODIES = "arn:AWS::Partition:s3:::conformance-dev-data-BodiesBucketName"
DUTIES = {
    "notes.ingest": {"dynamodb:PutItem": {"NotesTableName"}, "s3:PutObject": {"/notes/kept/*"}},
    "notes.query": {
        "dynamodb:GetItem": {"NotesTableName"},
        "dynamodb:BatchGetItem": {"NotesTableName"},
        "dynamodb:Query": {"NotesTableName/index/topic", "NotesTableName/index/count"},
        "s3:GetObject": {"/notes/kept/*"},
    },
    "notes.authorizer": {"dynamodb:GetItem": {"KeysTableName"}},
    "nested.authorizer": {"secretsmanager:GetSecretValue": {"conformance-dev-data-ConformanceJwtSecretSecretArn"}},
    "requests,each,all.authorizer": {
        "secretsmanager:GetSecretValue": {"conformance-dev-data-ConformanceJwtSecretSecretArn"}
    },
    "broken.authorizer": {},
    "requests.query": {"dynamodb:GetItem": {"RequestsTableName"}, "s3:GetObject": {"/requests/kept/*"}},
    "brief.ingest": {"dynamodb:PutItem": {"BriefTableName"}, "s3:PutObject": {"/brief/1d/*"}},
    "small.ingest": {"dynamodb:PutItem": {"SmallTableName"}},
    "all.ingest": {"dynamodb:PutItem": {"AllTableName"}, "s3:PutObject": {"/all/kept/*"}},
    "hooks.ingest": {
        "dynamodb:PutItem": {"HooksTableName"},
        "s3:PutObject": {"/hooks/kept/*"},
        "secretsmanager:GetSecretValue": {"conformance-dev-data-ConformanceWebhookSecretSecretArn"},
    },
}


@pytest.mark.parametrize("duty", DUTIES)
def test_a_function_may_do_what_its_duty_asks_and_no_more(conformance: Synthesized, duty: str) -> None:
    heads = {"dynamodb": TABLES, "s3": BODIES, "secretsmanager": ""}
    assert grants(conformance.service, functions(conformance.service)[duty]) == {
        action: {heads[action.partition(":")[0]] + resource for resource in resources}
        for action, resources in DUTIES[duty].items()
    }


def test_each_channel_has_the_functions_it_needs(conformance: Synthesized) -> None:
    found = set(functions(conformance.service))
    assert {name for name in found if name.startswith("silent.")} == {"silent.ingest"}
    assert {name for name in found if name.startswith("any.")} == {"any.ingest", "any.query"}
    assert {name for name in found if name.endswith(".authorizer")} == {
        "notes.authorizer",
        "nested.authorizer",
        "requests,each,all.authorizer",
        "broken.authorizer",
    }


def test_no_role_has_more_than_its_own_policy(conformance: Synthesized) -> None:
    roles = conformance.service.all("AWS::IAM::Role")
    assert len(roles) == len(conformance.service.all(FUNCTION)) == len(conformance.service.all("AWS::IAM::Policy"))
    for role in roles.values():
        assert role["Properties"].keys() <= {"AssumeRolePolicyDocument", "Tags"}


def test_a_star_stands_only_where_the_name_of_a_body_does(conformance: Synthesized, orders: Synthesized) -> None:
    for made in (conformance, orders):
        for function in functions(made.service).values():
            for action, resources in grants(made.service, function).items():
                assert "*" not in action
                assert all("*" not in it or (action.startswith("s3:") and it.endswith("/*")) for it in resources)


def test_functions_run_on_arm64_with_the_layer_and_the_declared_python(orders: Synthesized) -> None:
    for name, function in functions(orders.service).items():
        assert function["Architectures"] == ["arm64"]
        assert function["Runtime"] == "python3.13"
        assert len(function["Layers"]) == 1
        assert (function["MemorySize"], function["Timeout"]) == (512, 30 if name.endswith(".task") else 25)
    (layer,) = orders.service.properties("AWS::Lambda::LayerVersion")
    assert layer["CompatibleArchitectures"] == ["arm64"]
    assert layer["CompatibleRuntimes"] == ["python3.13"]


def test_an_image_is_built_once_and_told_which_duty_it_has(message: Synthesized) -> None:
    for function in message.service.properties(FUNCTION):
        assert function["PackageType"] == "Image"
        assert not {"Layers", "Runtime", "Handler"} & function.keys()
    commands = [function["ImageConfig"]["Command"] for function in message.service.properties(FUNCTION)]
    assert sorted(commands) == [["headgate.aws.lambdas.ingest.handler"], ["headgate.aws.lambdas.query.handler"]]
    assets = json.loads((message.folder / f"{message.service.name}.assets.json").read_text())
    (image,) = assets["dockerImages"].values()
    assert image["source"]["platform"] == "linux/arm64"


def test_logs_are_kept_as_long_as_the_stage_says(orders: Synthesized, tmp_path: Path) -> None:
    assert {group["RetentionInDays"] for group in orders.service.properties("AWS::Logs::LogGroup")} == {30}
    app = App("shop")
    app.channel("/orders", auth=Public())
    for days in LOG_DAYS:
        folder = tmp_path / str(days)
        folder.mkdir()
        made = synthesize(folder, app, Stage("dev", log_days=days))
        assert {group["RetentionInDays"] for group in made.service.properties("AWS::Logs::LogGroup")} == {days}


def test_a_function_is_told_what_it_serves(orders: Synthesized) -> None:
    told = functions(orders.service)["orders.ingest"]["Environment"]["Variables"]
    settings = Settings.read({name: spelled(value) for name, value in told.items()})
    assert settings == Settings(
        app="app:app",
        stage="prod",
        channels=("orders",),
        table="orders-prod-data-OrdersTableName",
        bodies="orders-prod-data-BodiesBucketName",
    )
    told = functions(orders.service)["orders.authorizer"]["Environment"]["Variables"]
    settings = Settings.read({name: spelled(value) for name, value in told.items()})
    assert settings.secrets == {"ORDERS_JWT_SECRET": "orders-prod-data-OrdersJwtSecretSecretArn"}
    assert settings.table == settings.bodies == settings.keys == ""


def test_an_environment_that_lambda_would_not_take_is_refused(tmp_path: Path) -> None:
    app = App("shop")

    @app.channel("/orders", auth=Public(), delivery=Queued(), env={"CERTIFICATE": "x" * 4_000})
    def work(order: object) -> None: ...

    with pytest.raises(Misuse) as told:
        synthesize(tmp_path, app)
    assert str(told.value).startswith("The function that works off what is posted to /orders would have 4")
    assert str(told.value).endswith("and Lambda takes 4096: name fewer settings, or keep long ones in a Secret(...).")


def test_a_channel_with_api_keys_tells_its_authorizer_where_they_are(conformance: Synthesized) -> None:
    told = functions(conformance.service)["notes.authorizer"]["Environment"]["Variables"]
    assert spelled(told["HEADGATE_KEYS"]) == "conformance-dev-data-KeysTableName"


def test_an_env_is_what_it_is_where_the_stacks_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("shop")
    auth = Jwt(secret=Secret("KEY"), issuer=Env("ISSUER"), audience=Env("AUDIENCE", "shop"))
    app.channel("/orders", auth=auth)
    with pytest.raises(Misuse, match=r"test_functions.py:\d+: ISSUER is not set: set it"):
        synthesize(tmp_path, app)
    monkeypatch.setenv("ISSUER", "https://issuer.example")
    again = tmp_path / "again"
    again.mkdir()
    made = synthesize(again, app)
    told = functions(made.service)["orders.authorizer"]["Environment"]["Variables"]
    assert (told["ISSUER"], told["AUDIENCE"]) == ("https://issuer.example", "shop")
    assert "KEY" not in told


def test_sizes_are_those_of_the_stage(tmp_path: Path) -> None:
    app = App("shop")
    app.channel("/orders", auth=ApiKey())
    made = synthesize(tmp_path, app, Stage("big", memory_mb=1769, timeout_s=10))
    assert {(it["MemorySize"], it["Timeout"]) for it in made.service.properties(FUNCTION)} == {(1769, 10)}
