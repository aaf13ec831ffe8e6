"""A state machine may put objects into buckets: `arn:aws:states:::aws-sdk:s3:putObject`. Whatever it asks of a service
it asks over TLS, also when a rule has started it.

https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack import app
from ministack.core import iam_evaluator
from ministack.services import stepfunctions as steps


def install() -> None:
    """Carry it out; whatever else is asked of S3 goes its way."""
    dispatch, run = steps._dispatch_aws_sdk_rest_xml, steps._run_execution

    def ran(execution: str) -> None:
        iam_evaluator.pin_request_origin("127.0.0.1", True)
        run(execution)

    def dispatched(info: Any, service: str, action: str, given: dict[str, Any]) -> Any:
        return _put(given) if (service, action) == ("s3", "putObject") else dispatch(info, service, action, given)

    steps._dispatch_aws_sdk_rest_xml, steps._run_execution = dispatched, ran


def _put(given: dict[str, Any]) -> dict[str, Any]:
    """A body is written as JSON, whatever it is: text gets its quotes."""
    body = json.dumps(given.get("Body", ""), ensure_ascii=False, separators=(",", ":")).encode()
    kind = str(given.get("ContentType", "application/octet-stream"))
    who = f"AWS4-HMAC-SHA256 Credential=test/20260101/{steps.REGION}/s3/aws4_request"
    headers = {"host": "s3", "content-type": kind, "content-length": str(len(body)), "authorization": who}
    path = f"/{given['Bucket']}/{given['Key']}"
    status, told, answer = app.call_service_handler_sync(app.SERVICE_HANDLERS["s3"], "PUT", path, headers, body, {})
    if status >= 400:
        raise steps._ExecutionError("S3.S3Exception", answer.decode() if isinstance(answer, bytes) else str(answer))
    return {"ETag": {name.lower(): value for name, value in told.items()}.get("etag", "")}
