"""What resources and outputs are called where a stage says so."""

from __future__ import annotations

from pathlib import Path

from headgate import App, Archive, Public, Queued, Stream
from headgate.declare.stage import Stage
from tests.cdk.stacks import synthesize

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
