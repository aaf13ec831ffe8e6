"""What resources and outputs are called where a stage says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate import App, Archive, DeclarationError, Public, Queued, Stream
from headgate.declare.stage import Stage
from tests.cdk.stacks import Synthesized, functions, synthesize
from tests.cdk.works import app as works_app

_NAMES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Kinesis::Stream": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
}


def shop() -> App:
    app = App("shop")
    app.channel("/events", auth=Public(), delivery=Stream(shards=2))
    app.channel("/orders", auth=Public(), delivery=Queued(validate="worker"), archive=Archive("{id}.json"))
    return app


def test_a_stage_names_resources_and_further_outputs_with_exports_of_their_own(tmp_path: Path) -> None:
    stage = Stage(
        "prod",
        names={
            "stream:events": "shop-events",
            "api": "Shop-Ingest",
            "archive:orders": "shop-orders",
            "queue:orders": "q",
        },
        outputs={"EventStreamName": "EventsStreamName", "IngestApiUrl": "EventsUrl", "S3BucketURL": "OrdersArchiveUrl"},
        exports="Shop-{output}",
    )
    made = synthesize(tmp_path, shop(), stage)
    assert made.data.one("AWS::Kinesis::Stream")["Name"] == "shop-events"
    assert made.service.one("AWS::ApiGateway::RestApi")["Name"] == "Shop-Ingest"
    assert made.data.one("AWS::S3::Bucket", BucketName="shop-orders")
    assert made.data.one("AWS::SQS::Queue", QueueName="q")
    stream = made.data.body["Outputs"]["EventStreamName"]
    assert stream["Export"] == {"Name": "Shop-EventStreamName"}
    assert stream["Value"] == made.data.body["Outputs"]["EventsStreamName"]["Value"]
    assert made.data.body["Outputs"]["EventsStreamName"]["Export"] == {"Name": "shop-prod-data-EventsStreamName"}
    assert "IngestApiUrl" not in made.data.body["Outputs"]
    assert made.service.body["Outputs"]["IngestApiUrl"]["Export"] == {"Name": "Shop-IngestApiUrl"}
    assert made.data.body["Outputs"]["S3BucketURL"]["Value"] == made.data.body["Outputs"]["OrdersArchiveUrl"]["Value"]


def test_nothing_has_a_name_of_its_own_unless_asked(tmp_path: Path) -> None:
    made = synthesize(tmp_path, shop())
    for template in made.templates():
        for resource in template.body["Resources"].values():
            name = _NAMES.get(resource["Type"])
            assert name is None or name not in resource["Properties"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    stage = Stage(
        "test",
        stack="Everything",
        variables={"ORDERS_TABLE": "table:orders", "ORDERS_URL": "queue:orders", "BUCKET_NAME": "archive:orders"},
        outputs={"Endpoint": "ApiUrl", "TableName": "OrdersTableName"},
    )
    return synthesize(tmp_path_factory.mktemp("whole"), works_app, stage)


def test_one_stack_holds_all_of_it_where_the_stage_says_so(whole: Synthesized, works: Synthesized) -> None:
    assert whole.data.name == whole.service.name == "Everything"
    assert whole.data.body["Outputs"].keys() - {"Endpoint", "TableName"} == (
        works.data.body["Outputs"].keys() | works.service.body["Outputs"].keys()
    )
    assert "Fn::ImportValue" not in whole.data.path.read_text()
    assert "Fn::GetStackOutput" not in whole.data.path.read_text()


def test_functions_are_told_under_further_names_what_they_work_with(whole: Synthesized) -> None:
    told = {name: it["Environment"]["Variables"] for name, it in functions(whole.service).items()}
    ours = {"ORDERS_TABLE": "HEADGATE_TABLE", "ORDERS_URL": "HEADGATE_QUEUE", "BUCKET_NAME": "HEADGATE_ARCHIVE"}
    assert {*ours} <= told["orders.worker"].keys()
    for name, variables in told.items():
        for theirs, own in ours.items():
            assert variables.get(theirs) == (variables.get(own) if name.startswith("orders.") else None)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"A": "table:nothing"}, "`variables=` has 'table:nothing'; the app has api, "),
        ({"MODE": "table:orders"}, "`variables=`: the app has a variable MODE of its own."),
    ],
)
def test_a_variable_that_cannot_be_told_is_refused(tmp_path: Path, variables: dict[str, str], sentence: str) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public(), delivery=Queued(), env={"MODE": "fast"})(print)
    with pytest.raises(DeclarationError) as told:
        synthesize(tmp_path, app, Stage("prod", variables=variables))
    assert sentence in str(told.value)
