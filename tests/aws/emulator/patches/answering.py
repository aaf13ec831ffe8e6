"""A function that is fed by a queue and names failures so that Lambda does not understand it fails the whole batch.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html: a key of another name, an empty or a null
identifier, one that is of no message of the batch, or an answer that is no JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ministack.services import lambda_svc

_ERROR = {"error": True, "body": {"errorType": "Batch", "errorMessage": "the answer names no messages of the batch"}}


def install() -> None:
    """Look at what functions answer while a batch of a queue is under way."""
    run, execute = lambda_svc._run_sqs_batch, lambda_svc._execute_function
    under_way = threading.local()

    def ran(
        mapping: Mapping[str, Any], function: Any, event: Any, batch: Sequence[Mapping[str, Any]], *rest: Any
    ) -> Any:
        if "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or []):
            under_way.ids = {message["id"] for message in batch}
        try:
            return run(mapping, function, event, batch, *rest)
        finally:
            under_way.ids = None

    def executed(*words: Any, **named: Any) -> Any:
        ids = getattr(under_way, "ids", None)
        under_way.ids = None  # what that function calls itself is no batch
        answer = execute(*words, **named)
        if ids is None or answer.get("error") or _names_some_of(ids, answer.get("body")):
            return answer
        return _ERROR

    lambda_svc._run_sqs_batch = ran
    lambda_svc._execute_function = executed


def _names_some_of(ids: set[str], body: Any) -> bool:
    try:
        told = json.loads(body or "null") if isinstance(body, str) else body
    except ValueError:
        return False
    failures = (told or {}).get("batchItemFailures") or []
    return all(isinstance(failure, dict) and failure.get("itemIdentifier") in ids for failure in failures)
