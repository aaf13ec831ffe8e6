"""The functions behind the gate: what feeds each, what it may do, and what it is told."""

from __future__ import annotations

import json

import pytest

from headgate.aws.settings import Settings
from tests.cdk.stacks import Node, Synthesized, functions, grants, spelled

MAPPING = "AWS::Lambda::EventSourceMapping"
DATA = "works-prod-data-"
TABLES = f"arn:AWS::Partition:dynamodb:AWS::Region:AWS::AccountId:table/{DATA}"
BODIES = f"arn:AWS::Partition:s3:::{DATA}BodiesBucketName/"
ORDERS_ARCHIVE = f"arn:AWS::Partition:s3:::{DATA}OrdersArchiveName/*"
RAW_ARCHIVE = f"arn:AWS::Partition:s3:::{DATA}RawArchiveName/*"
KEPT_ARCHIVE = f"arn:AWS::Partition:s3:::{DATA}KeptArchiveName/*"


def on(resource: str, *actions: str) -> dict[str, set[str]]:
    return {action: {resource} for action in actions}


def fed_by(queue: str) -> dict[str, set[str]]:
    return on(DATA + queue, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


TABLE_FEED = ("GetRecords", "GetShardIterator", "DescribeStream", "ListStreams")
STREAM_FEED = ("DescribeStreamSummary", "ListShards", "ListStreams", "SubscribeToShard", "DescribeStream")
RECORDS = ("kinesis:GetRecords", "kinesis:GetShardIterator")

DUTIES = {
    "orders.ingest": {
        **on(f"{TABLES}OrdersTableName", "dynamodb:PutItem"),
        **on(f"{BODIES}orders/kept/*", "s3:PutObject"),
    },
    "orders.forwarder": {
        **on(f"{DATA}OrdersQueueArn", "sqs:SendMessage"),
        **on(f"{TABLES}OrdersTableName/stream/*", *(f"dynamodb:{action}" for action in TABLE_FEED)),
    },
    "orders.worker": {
        **fed_by("OrdersQueueArn"),
        **on(f"{DATA}OrdersQueueArn", "sqs:ChangeMessageVisibility", "sqs:SendMessage"),
        **on(f"{TABLES}OrdersTableName", "dynamodb:UpdateItem"),
        "s3:GetObject": {f"{BODIES}orders/kept/*", ORDERS_ARCHIVE},
        "s3:PutObject": {ORDERS_ARCHIVE},
        **on(f"{DATA}PartnerTokenSecretArn", "secretsmanager:GetSecretValue"),
    },
    "orders.buried": {
        **fed_by("OrdersDeadLettersArn"),
        **on(f"{TABLES}OrdersTableName", "dynamodb:UpdateItem"),
        **on(f"{BODIES}orders/kept/*", "s3:GetObject"),
    },
    "orders.sweep": {
        "dynamodb:Query": {f"{TABLES}OrdersTableName/index/headgate.{name}" for name in ("due", "dead")},
        **on(f"{TABLES}OrdersTableName", "dynamodb:UpdateItem"),
        **on(f"{DATA}OrdersQueueArn", "sqs:SendMessage", "sqs:GetQueueAttributes"),
        **on("*", "cloudwatch:GetMetricStatistics"),
    },
    "payments.worker": {
        **fed_by("PaymentsQueueArn"),
        **on(f"{DATA}PaymentsQueueArn", "sqs:ChangeMessageVisibility", "sqs:SendMessage"),
        **on(f"{TABLES}PaymentsTableName/index/headgate.line", "dynamodb:Query"),
        **on(f"{TABLES}PaymentsTableName", "dynamodb:UpdateItem"),
    },
    "raw.worker": {
        **fed_by("RawQueueArn"),
        **on(f"{DATA}RawQueueArn", "sqs:ChangeMessageVisibility", "sqs:SendMessage"),
        **on(f"{TABLES}RawTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        **on("", "s3:GetObject", "s3:PutObject"),
    },
    "drop.worker": {
        **fed_by("DropQueueArn"),
        **on(f"{DATA}DropQueueArn", "sqs:ChangeMessageVisibility", "sqs:SendMessage"),
        **on(f"{TABLES}DropTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        **on(f"{BODIES}drop/kept/*", "s3:GetObject", "s3:PutObject"),
    },
    "raw.buried": {
        **fed_by("RawDeadLettersArn"),
        **on(f"{TABLES}RawTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        **on(f"{BODIES}raw/2d/*", "s3:GetObject", "s3:PutObject"),
    },
    "kept.ingest": {
        **on(f"{TABLES}KeptTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        "s3:GetObject": {f"{BODIES}kept/kept/*", KEPT_ARCHIVE},
        "s3:PutObject": {f"{BODIES}kept/kept/*", KEPT_ARCHIVE},
    },
    "kept.sweep": {
        **on(f"{TABLES}KeptTableName/index/headgate.due", "dynamodb:Query"),
        **on(f"{TABLES}KeptTableName", "dynamodb:GetItem", "dynamodb:UpdateItem"),
        "s3:GetObject": {f"{BODIES}kept/kept/*", KEPT_ARCHIVE},
        "s3:PutObject": {KEPT_ARCHIVE},
    },
    "clicks.ingest": on(f"{DATA}ClicksStreamArn", "kinesis:PutRecords"),
    "visits.ingest": {
        **on(f"{DATA}VisitsStreamArn", "kinesis:PutRecords"),
        **on(f"{TABLES}VisitsTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        **on(f"{BODIES}visits/kept/*", "s3:PutObject"),
    },
    "visits.sweep": {
        **on(f"{DATA}VisitsStreamArn", "kinesis:PutRecords"),
        **on(f"{TABLES}VisitsTableName/index/headgate.due", "dynamodb:Query"),
        **on(f"{TABLES}VisitsTableName", "dynamodb:GetItem", "dynamodb:UpdateItem"),
        **on(f"{BODIES}visits/kept/*", "s3:GetObject"),
    },
    "clicks.count.consumer": {
        **on(f"{DATA}ClicksStreamArn", *RECORDS, *(f"kinesis:{action}" for action in STREAM_FEED)),
        **on(f"{DATA}ClicksCountDeadLettersArn", "sqs:SendMessage"),
        "dynamodb:Query": {f"{TABLES}ClicksTableName/index/headgate.{name}" for name in ("due", "dead")},
        **on(f"{TABLES}ClicksTableName", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        **on(f"{BODIES}clicks/kept/*", "s3:PutObject", "s3:GetObject"),
    },
    "clicks.count.buried": {
        **fed_by("ClicksCountDeadLettersArn"),
        **on(f"{DATA}ClicksStreamArn", *RECORDS),
        **on(f"{TABLES}ClicksTableName", "dynamodb:PutItem"),
        **on(f"{BODIES}clicks/kept/*", "s3:PutObject"),
    },
}
DUTIES["raw.worker"] |= {
    "s3:GetObject": {f"{BODIES}raw/2d/*", RAW_ARCHIVE},
    "s3:PutObject": {f"{BODIES}raw/2d/*", RAW_ARCHIVE},
}


@pytest.mark.parametrize("duty", DUTIES)
def test_a_function_behind_the_gate_may_do_what_its_duty_asks_and_no_more(works: Synthesized, duty: str) -> None:
    assert grants(works.service, functions(works.service)[duty]) == DUTIES[duty]


def fed(works: Synthesized, duty: str) -> Node:
    """What feeds a function."""
    handler = functions(works.service)[duty]["Description"]
    (name,) = [
        name
        for name, found in works.service.all("AWS::Lambda::Function").items()
        if found["Properties"]["Description"] == handler
    ]
    (mapping,) = [it for it in works.service.properties(MAPPING) if it["FunctionName"] == {"Ref": name}]
    return mapping


def test_each_channel_has_the_functions_that_its_delivery_needs(works: Synthesized) -> None:
    found = set(functions(works.service))

    def of(channel: str) -> set[str]:
        return {name.partition(".")[2] for name in found if name.startswith(f"{channel}.")}

    assert of("orders") == {"ingest", "query", "authorizer", "forwarder", "worker", "buried", "sweep"}
    assert of("raw") == {"query", "forwarder", "worker", "buried", "sweep"}
    assert of("drop") == {"forwarder", "worker", "buried", "sweep"}
    assert of("kept") == {"ingest", "sweep"}
    assert of("clicks") == {"ingest", "count.consumer", "count.buried", "forward.consumer", "forward.buried"}
    assert of("visits") == {"ingest", "query", "sweep", "greet.consumer", "greet.buried"}


def test_where_a_stream_dedupes_the_gate_and_the_sweep_know_table_and_stream(works: Synthesized) -> None:
    for duty in ("visits.ingest", "visits.sweep"):
        told = functions(works.service)[duty]["Environment"]["Variables"]
        assert spelled(told["HEADGATE_TABLE"]) == f"{DATA}VisitsTableName"
        assert f"{DATA}VisitsStreamArn" in json.dumps(told["HEADGATE_STREAM"])


def test_a_forwarder_is_called_for_what_is_new_and_for_what_was_put_back(works: Synthesized) -> None:
    mapping = fed(works, "orders.forwarder")
    assert spelled(mapping["EventSourceArn"]) == f"{DATA}OrdersTableStreamArn"
    patterns = [json.loads(it["Pattern"]) for it in mapping["FilterCriteria"]["Filters"]]
    assert patterns == [
        {"eventName": ["INSERT"], "dynamodb": {"NewImage": {"status": {"S": ["accepted"]}}}},
        {
            "eventName": ["MODIFY"],
            "dynamodb": {
                "NewImage": {"status": {"S": ["accepted"]}},
                "OldImage": {"status": {"S": ["failed", "rejected", "processed", "discarded"]}},
            },
        },
    ]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"]


def test_a_worker_has_the_batch_the_size_and_the_time_of_its_handler(works: Synthesized) -> None:
    mapping = fed(works, "orders.worker")
    assert (mapping["BatchSize"], mapping["ScalingConfig"]) == (2, {"MaximumConcurrency": 7})
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    worker = functions(works.service)["orders.worker"]
    assert (worker["MemorySize"], worker["Timeout"]) == (256, 2 * 20 + 30)
    queue = works.data.one("AWS::SQS::Queue", VisibilityTimeout=6 * worker["Timeout"])
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 6


def test_where_an_order_is_kept_there_are_no_more_workers_than_declared_either(works: Synthesized) -> None:
    assert fed(works, "payments.worker")["ScalingConfig"] == {"MaximumConcurrency": 4}


def test_lambda_does_not_take_a_worker_that_renews_its_messages_for_a_loop(works: Synthesized) -> None:
    found = {duty: function.get("RecursiveLoop") for duty, function in functions(works.service).items()}
    assert {duty for duty, allowed in found.items() if allowed == "Allow"} == {
        f"{channel}.worker" for channel in ("orders", "payments", "raw", "drop")
    }
    assert set(found.values()) == {"Allow", None}


def test_a_worker_finds_its_variables_and_where_its_secrets_lie(works: Synthesized) -> None:
    told = functions(works.service)["orders.worker"]["Environment"]["Variables"]
    assert (told["PARTNER"], told["MODE"]) == ("https://partner.example", "fast")
    settings = Settings.read({name: spelled(value) for name, value in told.items()})
    assert settings.secrets == {"PARTNER_TOKEN": f"{DATA}PartnerTokenSecretArn"}
    assert (settings.queue, settings.archive) == (f"{DATA}OrdersQueueUrl", f"{DATA}OrdersArchiveName")


def test_only_a_handler_is_told_what_it_needs(works: Synthesized) -> None:
    for duty, function in functions(works.service).items():
        variables = function["Environment"]["Variables"]
        assert ("MODE" in variables) == (duty == "orders.worker")
        assert ("PARTNER_TOKEN" in str(variables)) == (duty in ("orders.worker", "settle.task"))


def test_a_consumer_is_given_its_records_in_halves_and_not_for_ever(works: Synthesized) -> None:
    mapping = fed(works, "clicks.count.consumer")
    assert mapping["BisectBatchOnFunctionError"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (mapping["MaximumRetryAttempts"], mapping["MaximumRecordAgeInSeconds"]) == (14, 7200)
    failed = mapping["DestinationConfig"]["OnFailure"]["Destination"]
    assert spelled(failed) == f"{DATA}ClicksCountDeadLettersArn"
    assert fed(works, "clicks.count.buried")["EventSourceArn"] == failed
    assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_dead_letter_queues_are_drained(works: Synthesized) -> None:
    assert spelled(fed(works, "orders.buried")["EventSourceArn"]) == f"{DATA}OrdersDeadLettersArn"
    for duty, function in functions(works.service).items():
        if duty.endswith(".buried"):
            assert function["Timeout"] * 6 <= 300


def test_what_looks_for_what_was_left_behind_is_called_every_minute(works: Synthesized) -> None:
    sweeps = [duty for duty in functions(works.service) if duty.endswith((".sweep", ".consumer"))]
    rules = [
        it for it in works.service.properties("AWS::Events::Rule") if it.get("ScheduleExpression") == "rate(1 minute)"
    ]
    assert len(sweeps) == len(rules) == 9
