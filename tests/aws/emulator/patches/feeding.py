"""Event source mappings: of streams, what failed comes again and is given up as declared; and all of them read with the
role of their function.

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html,
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html: the lowest sequence number that is
reported is where the next batch starts; one that is not of the batch fails all of it.
https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html, with-ddb.html, with-sqs.html: the permissions.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from ministack.core import iam_evaluator
from ministack.core.responses import request_scope
from ministack.services import cloudwatch, dynamodb, kinesis, lambda_svc, sqs

from tests.aws.emulator.feeds import FEEDS
from tests.aws.emulator.roles import may

log = logging.getLogger("feeding")

_PAUSE_S = 0.2
"""Between an attempt that failed and the next one."""
_INFO = {"kinesis": "KinesisBatchInfo", "dynamodb": "DDBStreamBatchInfo"}

Events = list[dict[str, Any]]


class _Part(NamedTuple):
    """Records that are handed over together, by their positions, and how often they were."""

    start: int
    end: int
    attempts: int = 0


@dataclass
class _Reader:
    """How far a mapping is in one shard."""

    position: int
    parts: list[_Part] = field(default_factory=list)
    is_busy: bool = False


class _Shard(NamedTuple):
    """`read` gives the records from a position on, `start` and `end` are where they begin and end."""

    id: str
    start: int
    end: int
    read: Callable[[int, int], Events]


_readers: dict[tuple[str, str], _Reader] = {}
_lock = threading.Lock()


def install() -> None:
    """Put our own reading in the place of ministack's, and look at roles before a queue is asked."""
    polled = lambda_svc._poll_sqs
    iterate = lambda_svc._iter_all_esms
    granted = threading.local()

    def mappings() -> Iterator[tuple[str, str, dict[str, Any]]]:
        for account, region, mapping in iterate():
            is_read = ":sqs:" in mapping.get("EventSourceArn", "") and mapping.get("Enabled", True)
            if not getattr(granted, "asked", False) or not is_read or _may_read(mapping, account, region):
                yield account, region, mapping

    def poll_queues() -> bool:
        granted.asked = True
        try:
            return bool(polled())
        finally:
            granted.asked = False

    lambda_svc._iter_all_esms = mappings
    lambda_svc._poll_sqs = poll_queues
    lambda_svc._poll_kinesis = lambda: _poll(iterate, "kinesis", _kinesis_shards)
    lambda_svc._poll_dynamodb_streams = lambda: _poll(iterate, "dynamodb", _table_shards)


# ------------------------------------------------------------------------------------------------------------- shards


def _kinesis_shards(mapping: Mapping[str, Any], account: str, region: str) -> list[_Shard]:
    arn = mapping["EventSourceArn"]
    stream = kinesis._streams.get_scoped(account, region, arn.rpartition("/")[2])
    if not stream or stream["StreamStatus"] != "ACTIVE":
        return []
    return [
        _Shard(name, 0, len(shard["records"]), _reading_of(name, shard, arn, region))
        for name, shard in stream["shards"].items()
    ]


def _reading_of(name: str, shard: Mapping[str, Any], arn: str, region: str) -> Callable[[int, int], Events]:
    def read(start: int, end: int) -> Events:
        return [_kinesis_event(name, record, arn, region) for record in shard["records"][start:end]]

    return read


def _kinesis_event(shard: str, record: Mapping[str, Any], arn: str, region: str) -> dict[str, Any]:
    data = record["Data"]
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": record["SequenceNumber"],
            "data": base64.b64encode(data).decode() if isinstance(data, bytes) else data,
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{record['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "awsRegion": region,
        "eventSourceARN": arn,
    }


def _table_shards(mapping: Mapping[str, Any], account: str, region: str) -> list[_Shard]:
    arn = mapping["EventSourceArn"]
    name = arn.partition("/stream/")[0].rpartition("/")[2]
    table = dynamodb._tables.get(name)
    if not table or table.get("LatestStreamArn") != arn:
        return []
    start, end = dynamodb.stream_start_position(name), dynamodb.stream_end_position(name)

    def read(first: int, last: int) -> Events:
        found: Events = dynamodb.stream_records_since(name, first, last - first)
        return found

    return [_Shard("shardId-00000000000000000000-00000000", start, end, read)]


# ------------------------------------------------------------------------------------------------------------ reading


def _poll(
    mappings: Callable[[], Iterator[tuple[str, str, dict[str, Any]]]],
    service: str,
    shards_of: Callable[[Mapping[str, Any], str, str], list[_Shard]],
) -> bool:
    """Whether a batch was taken up anywhere."""
    found = False
    for account, region, mapping in mappings():
        if f":{service}:" not in mapping.get("EventSourceArn", "") or not mapping.get("Enabled", True):
            continue
        with request_scope(account, region):
            function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
            if function is None:
                continue
            for shard in shards_of(mapping, account, region):
                reader = _reader(mapping, shard)
                if reader.is_busy or not (reader.parts or shard.end > reader.position):
                    continue
                if not _may_read(mapping, account, region):
                    continue
                if not reader.parts:
                    last = min(shard.end, reader.position + int(mapping.get("BatchSize") or 100))
                    reader.parts = [_Part(reader.position, last)]
                reader.is_busy = found = True
                words = (mapping, function, shard, reader, service, account, region)
                threading.Thread(target=_hand_over, args=words, daemon=True).start()
    return found


def _reader(mapping: Mapping[str, Any], shard: _Shard) -> _Reader:
    with _lock:
        at = (mapping["UUID"], shard.id)
        if at not in _readers:
            oldest = mapping.get("StartingPosition") == "TRIM_HORIZON"
            _readers[at] = _Reader(shard.start if oldest else shard.end)
        return _readers[at]


def _hand_over(mapping: Any, function: Any, shard: _Shard, reader: _Reader, service: str, *scope: str) -> None:
    """One batch to the function, and what follows from its answer."""
    try:
        with request_scope(*scope):
            part = reader.parts[0]
            records = shard.read(part.start, part.end)
            wanted = lambda_svc._apply_filter_criteria(records, mapping)
            _tell_age(function, records[-1], service)
            result = lambda_svc._execute_function(function, {"Records": wanted}) if wanted else {}
            failed = _first_failed(mapping, records, result, service)
            if failed is None:
                reader.parts.pop(0)
            else:
                time.sleep(_PAUSE_S)
                reader.parts[:1] = _going_on(mapping, part, failed)
                if _is_given_up(mapping, part, failed):
                    _send_away(mapping, function, shard, records, part, service, *scope)
            if not reader.parts:
                reader.position = part.end
    except Exception:
        log.exception("a batch was not handed over")
        time.sleep(_PAUSE_S)
    finally:
        reader.is_busy = False
        lambda_svc._esm_wake.set()


def _tell_age(function: Any, last: Mapping[str, Any], service: str) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html: the age of the last record when it is
    handed over."""
    told = last["kinesis"] if service == "kinesis" else last["dynamodb"]
    arrived_s = told["approximateArrivalTimestamp" if service == "kinesis" else "ApproximateCreationDateTime"]
    dimensions = {"FunctionName": function["config"]["FunctionName"]}
    age_ms = 1000 * (time.time() - float(arrived_s))
    cloudwatch.record_metric("AWS/Lambda", "IteratorAge", age_ms, "Milliseconds", dimensions)


def _first_failed(mapping: Any, records: Sequence[Any], result: Mapping[str, Any], service: str) -> int | None:
    """The place in the batch of the lowest record that failed; None where none did."""
    if result.get("error"):
        log.warning("%s failed: %s", mapping["FunctionName"], result.get("body"))
        return 0
    body = result.get("body")
    if isinstance(body, str):
        body = json.loads(body or "null")
    told = (body or {}).get("batchItemFailures") or []
    if not told or "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or []):
        return None
    sequences = [_sequence(record, service) for record in records]
    named = [each.get("itemIdentifier") for each in told]
    return min(sequences.index(name) for name in named) if set(named) <= set(sequences) else 0


def _going_on(mapping: Any, part: _Part, failed: int) -> list[_Part]:
    """What is handed over next of a batch that failed from that place on."""
    if failed:
        return [_Part(part.start + failed, part.end)]
    if _is_given_up(mapping, part, failed):
        return []
    if _bisects(mapping) and part.end - part.start > 1:
        middle = (part.start + part.end) // 2
        return [_Part(part.start, middle, part.attempts), _Part(middle, part.end, part.attempts)]
    return [part._replace(attempts=part.attempts + 1)]


def _is_given_up(mapping: Any, part: _Part, failed: int) -> bool:
    most = mapping.get("MaximumRetryAttempts")
    limit = -1 if most is None else int(most)
    is_one = part.end - part.start == 1 or not _bisects(mapping)
    return failed == 0 and is_one and 0 <= limit <= part.attempts


def _bisects(mapping: Any) -> bool:
    return str(mapping.get("BisectBatchOnFunctionError", False)).lower() == "true"


def _send_away(
    mapping: Any, function: Any, shard: _Shard, records: Any, part: _Part, service: str, *scope: str
) -> None:
    """Tell the destination for failures where the records are."""
    target = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination", "")
    config = function["config"]
    if ":sqs:" not in target or not may(config["Role"], "sqs:SendMessage", target, *scope):
        return
    told = {
        "requestContext": {
            "requestId": str(uuid4()),
            "functionArn": config["FunctionArn"],
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": part.attempts + 1,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        _INFO[service]: {
            "shardId": shard.id,
            "startSequenceNumber": _sequence(records[0], service),
            "endSequenceNumber": _sequence(records[-1], service),
            "batchSize": len(records),
            "streamArn": mapping["EventSourceArn"],
        },
    }
    iam_evaluator.pin_request_origin("127.0.0.1", True)  # Lambda calls over TLS, which policies of queues ask for
    url = sqs._queue_url(target.rpartition(":")[2])
    sqs._act_send_message({"QueueUrl": url, "MessageBody": json.dumps(told)}, url)


def _sequence(record: Mapping[str, Any], service: str) -> str:
    return str(record["kinesis"]["sequenceNumber"] if service == "kinesis" else record["dynamodb"]["SequenceNumber"])


# -------------------------------------------------------------------------------------------------------------- roles


def _may_read(mapping: Mapping[str, Any], account: str, region: str) -> bool:
    """Whether the role of the function may do all that Lambda does with it."""
    with request_scope(account, region):
        _, config = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
    source = mapping["EventSourceArn"]
    feed = FEEDS[source.split(":")[2]]
    if not config:
        return False
    asked = [may(config["Role"], action, source, account, region) for action in feed]  # each, so that each is noted
    return all(asked)
