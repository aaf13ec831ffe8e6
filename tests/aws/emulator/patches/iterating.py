"""Records of Kinesis are read with the permission to read from their stream.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesisdatastreams.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core import iam_actions
from ministack.services import kinesis


def install() -> None:
    """Find out which stream an iterator belongs to."""
    extract = iam_actions.extract_resource_arn

    def extracted(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> Any:
        if service == "kinesis" and headers.get("x-amz-target", "").endswith(".GetRecords"):
            told = kinesis._shard_iterators.get(json.loads(body).get("ShardIterator")) or {}
            if arn := told.get("stream_arn"):
                return arn
        return extract(service, method, path, headers, body, *rest)

    iam_actions.extract_resource_arn = extracted
