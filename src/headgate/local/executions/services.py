"""What Task states ask for, carried out by functions that are handed in, with results in the shape AWS gives them."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headgate.declare.asl import is_lambda
from headgate.gate.observe import site
from headgate.local.executions.room import Performer
from headgate.local.executions.state import Invocation, Outcome

log = logging.getLogger("headgate.local")

_INVOKE = "arn:aws:states:::lambda:invoke"


class TaskFailed(Exception):
    """What was asked for did not succeed: the error's name and its cause, as a Catch sees them."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause


Invoke = Callable[[str, Any, str], Any]
"""Runs the function of that name with that event: (name, event, token) → its result. Raises TaskFailed for an error of
the function, KeyError where there is no such function. The token is the same for every try of one invocation."""

Service = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""Carries out one verb of a service, such as `sns:publish`: (parameters, token) → the response, as the service's API
gives it. Raises TaskFailed."""


class Services(Performer):
    """A pool of threads that invoke functions and call services, each given by its resource's name."""

    def __init__(self, invoke: Invoke, services: Mapping[str, Service] | None = None, *, threads: int = 16) -> None:
        self._invoke = invoke
        self._services = dict(services or {})
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headgate-task")

    def perform(self, invocation: Invocation, done: Callable[[Outcome], None]) -> None:
        self._pool.submit(self._run, invocation, done)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Once closed: return when what was begun has ended."""
        self._pool.shutdown()

    def _run(self, asked: Invocation, done: Callable[[Outcome], None]) -> None:
        try:
            result = self._carried_out(asked)
        except TaskFailed as failed:
            done(Outcome(asked.branch, asked.attempt, error=_whole(failed.error), cause=_whole(failed.cause)))
        except Exception as error:  # noqa: BLE001 - the execution has to hear of it
            log.error("a task could not be carried out where=%s", site(error))
            cause = f"It could not be carried out: {type(error).__name__}"
            done(Outcome(asked.branch, asked.attempt, error="States.TaskFailed", cause=cause))
        else:
            done(Outcome(asked.branch, asked.attempt, result))

    def _carried_out(self, asked: Invocation) -> Any:
        if is_lambda(asked.resource):
            return self._function(asked.resource, asked.arguments, asked.token)
        if not isinstance(asked.arguments, Mapping):
            raise TaskFailed("States.Runtime", f"The parameters of {asked.resource} have to be an object.")
        if asked.resource == _INVOKE:
            return self._asked_to_invoke(asked)
        name = asked.resource.removeprefix("arn:aws:states:::")
        if name not in self._services:
            raise TaskFailed("States.TaskFailed", f"Nothing here carries out {name}.")
        response = self._services[name](asked.arguments, asked.token)
        return response if name.startswith("aws-sdk:") else _with_metadata(response, asked.token)

    def _asked_to_invoke(self, asked: Invocation) -> Any:
        name = asked.arguments.get("FunctionName")
        if not isinstance(name, str) or not name:
            raise TaskFailed("States.Runtime", "FunctionName has to name a function.")
        payload = asked.arguments.get("Payload")
        event = {} if payload is None else payload
        if isinstance(payload, str):  # it is the event's JSON text
            try:
                event = json.loads(payload)
            except ValueError as error:
                raise TaskFailed(
                    "Lambda.InvalidRequestContentException", f"Could not parse request body into json: {error}"
                ) from None
        result = self._function(name, event, asked.token)
        return invoked(result, _request_id(asked.token))

    def _function(self, name: str, event: Any, token: str) -> Any:
        short = function_name(name)
        try:
            return self._invoke(short, event, token)
        except KeyError:
            raise TaskFailed(
                "Lambda.ResourceNotFoundException",
                f"Function not found: {name if name.startswith('arn:') else _arn(name, token)}:$LATEST (Service: "
                "AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; Request ID: "
                f"{_request_id(token)}; Proxy: null)",
            ) from None


def function_name(resource: str) -> str:
    """`arn:aws:lambda:REGION:ACCOUNT:function:NAME[:VERSION]` → `NAME`; a name stays as it is."""
    parts = resource.split(":")
    return parts[6] if resource.startswith("arn:") and len(parts) > 6 else parts[0]


def invoked(result: Any, request_id: str) -> dict[str, Any]:
    """The result of a function as the integration lambda:invoke gives it."""
    length = str(len(json.dumps(result)))
    headers = {
        "Connection": "keep-alive",
        "Content-Length": length,
        "Content-Type": "application/json",
        "X-Amz-Executed-Version": "$LATEST",
        "x-amzn-Remapped-Content-Length": "0",
        "x-amzn-RequestId": request_id,
    }
    return {
        "ExecutedVersion": "$LATEST",
        "Payload": result,
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": headers,
            "HttpStatusCode": 200,
        },
        "SdkResponseMetadata": {"RequestId": request_id},
        "StatusCode": 200,
    }


def _with_metadata(response: Mapping[str, Any], token: str) -> dict[str, Any]:
    """A service's response as its own integration gives it, which says more than the SDK's."""
    id = _request_id(token)
    headers = {"x-amzn-RequestId": id}
    http = {"AllHttpHeaders": {"x-amzn-RequestId": [id]}, "HttpHeaders": headers, "HttpStatusCode": 200}
    return {"SdkHttpMetadata": http, "SdkResponseMetadata": {"RequestId": id}, **response}


def _whole(said: str) -> str:
    """A text that can be stored: half of a surrogate pair cannot."""
    return said.encode("utf-8", "replace").decode()


def _request_id(token: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, token))


def _arn(name: str, token: str) -> str:
    region, account = token.split(":")[3:5]
    return f"arn:aws:lambda:{region}:{account}:function:{name}"
