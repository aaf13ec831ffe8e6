"""Step Functions puts objects into buckets, by the integration of the SDK.

https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack.services import s3, stepfunctions

_PUT = "arn:aws:states:::aws-sdk:s3:putObject"


def install() -> None:
    """Add the one operation that workflows of ours ask for."""
    integrate = stepfunctions._invoke_aws_sdk_integration

    def integrated(resource: str, given: Any) -> Any:
        if not resource.startswith(_PUT):
            return integrate(resource, given)
        text = json.dumps(given["Body"], separators=(",", ":")) if "Body" in given else ""
        headers = {"content-type": given.get("ContentType", "application/octet-stream")}
        status, told, _ = s3._put_object(given["Bucket"], given["Key"], text.encode(), headers)
        if status != 200:
            raise stepfunctions._ExecutionError("S3.S3Exception", f"The object was not put: {status}")
        return {"ETag": next(value for name, value in told.items() if name.lower() == "etag")}

    stepfunctions._invoke_aws_sdk_integration = integrated
