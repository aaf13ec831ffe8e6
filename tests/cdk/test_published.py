"""The published names and values of the examples, as their templates have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.declare.load import load_app
from tests.cases import ROOT
from tests.cdk.stacks import Synthesized, functions, synthesize

Made = Callable[[str, str], Synthesized]

ACCESS_LOG = ("requestTime", "requestId", "httpMethod", "path", "resourcePath", "status", "responseLatency")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An example in a stage, synthesized once."""
    known: dict[tuple[str, str], Synthesized] = {}

    def of(name: str, stage: str) -> Synthesized:
        if (name, stage) not in known:
            app = load_app(str(ROOT / "examples" / name))
            known[name, stage] = synthesize(tmp_path_factory.mktemp(name), app, app.stage_named(stage))
        return known[name, stage]

    return of


def test_message_is_a_container_with_the_three_attributes_and_leaves_nothing_in_dev(made: Made) -> None:
    found = made("message", "dev")
    (table,) = found.data.properties("AWS::DynamoDB::Table")
    assert table["KeySchema"] == [{"AttributeName": "messageUUID", "KeyType": "HASH"}]
    (channel,) = load_app(str(ROOT / "examples" / "message")).channels
    assert [it.name for it in channel.attributes] == ["messageText", "messageDatetime"]
    assert {it["PackageType"] for it in found.service.properties("AWS::Lambda::Function")} == {"Image"}
    for template in found.templates():
        assert {it.get("DeletionPolicy", "Delete") for it in template.body["Resources"].values()} == {"Delete"}


def test_company_messages_has_its_outputs_tags_and_indexes(made: Made) -> None:
    found = made("company_messages", "dev")
    outputs = found.data.body["Outputs"]
    queue = found.data.one("AWS::SQS::Queue", VisibilityTimeout=360)
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 6  # behind three attempts, which the row counts
    assert "QueueName" in json.dumps(outputs["SqsQueueName"]["Value"])
    assert outputs["SqsEndpoint"]["Value"] == outputs["MessagesQueueUrl"]["Value"]
    assert "https://s3." in json.dumps(outputs["S3BucketURL"]["Value"])
    (table,) = found.data.properties("AWS::DynamoDB::Table")
    assert table["KeySchema"] == [{"AttributeName": "message_id", "KeyType": "HASH"}]
    assert "company_id" in [it["IndexName"] for it in table["GlobalSecondaryIndexes"]]
    assert {"Key": "environment", "Value": "dev"} in table["Tags"]
    assert {"Key": "project", "Value": "company-messages"} in table["Tags"]


def test_company_messages_works_off_one_by_one_and_alarms_go_to_its_topic(made: Made) -> None:
    found = made("company_messages", "dev")
    worker = [it for name, it in found.service.all("AWS::Lambda::EventSourceMapping").items() if "Worker" in name]
    assert [it["Properties"]["BatchSize"] for it in worker] == [1]
    alarms = found.service.properties("AWS::CloudWatch::Alarm")
    assert {"dead_letters", "handler_errors.company-messages.dev.messages"} <= {it.get("MetricName") for it in alarms}
    assert found.service.properties("AWS::Logs::MetricFilter")
    assert all(len(it["AlarmActions"]) == 1 for it in alarms)


@pytest.mark.parametrize(("stage", "policy"), [("dev", "Delete"), ("prod", "Retain")])
def test_company_messages_is_removed_by_its_stage(made: Made, stage: str, policy: str) -> None:
    (table,) = made("company_messages", stage).data.all("AWS::DynamoDB::Table").values()
    assert table["DeletionPolicy"] == policy


@pytest.mark.parametrize("example", ["company_messages", "events", "message"])
def test_the_access_log_has_the_published_fields(made: Made, example: str) -> None:
    (stage,) = made(example, "dev").service.properties("AWS::ApiGateway::Stage")
    told = json.loads(stage["AccessLogSetting"]["Format"])
    assert {name: f"$context.{name}" for name in ACCESS_LOG}.items() <= told.items()


def test_events_has_its_stream_its_api_its_function_and_its_exports(made: Made) -> None:
    found = made("events", "dev")
    (stream,) = found.data.properties("AWS::Kinesis::Stream")
    assert (stream["Name"], stream["ShardCount"], stream["RetentionPeriodHours"]) == ("iops-dashboard-events", 2, 24)
    assert stream["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert found.service.one("AWS::ApiGateway::RestApi")["Name"] == "IOpsDashboard-IngestApi"
    function = functions(found.service)["ingest.ingest"]
    assert (function["MemorySize"], function["Timeout"]) == (256, 30)
    assert found.data.body["Outputs"]["EventStreamName"]["Export"] == {"Name": "IOpsDashboard-EventStreamName"}
    assert found.service.body["Outputs"]["IngestApiUrl"]["Export"] == {"Name": "IOpsDashboard-IngestApiUrl"}
    (stage,) = found.service.properties("AWS::ApiGateway::Stage")
    (post,) = [it for it in stage["MethodSettings"] if it["HttpMethod"] == "POST"]
    assert (post["ThrottlingRateLimit"], post["ThrottlingBurstLimit"]) == (500, 1000)


def test_orders_expires_and_its_decisions_are_kept(made: Made) -> None:
    found = made("orders", "dev")
    (table,) = found.data.properties("AWS::DynamoDB::Table")
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    (authorizer,) = found.service.properties("AWS::ApiGateway::Authorizer")
    assert authorizer["AuthorizerResultTtlInSeconds"] == 60
    assert functions(found.service)["orders.authorizer"]["Layers"]
    (rule,) = [it for it in found.service.properties("AWS::Events::Rule") if it["Description"].startswith("Starts")]
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert load_app(str(ROOT / "examples" / "orders")).stage_named("prod").region == "eu-west-1"


def test_the_postman_collection_asks_its_variable() -> None:
    told = json.loads(Path(ROOT / "examples" / "company_messages" / "postman_collection.json").read_text())
    assert [it["key"] for it in told["variable"]] == ["backendURL"]
    assert all(it["request"]["url"].startswith("{{backendURL}}/messages") for it in told["item"])
