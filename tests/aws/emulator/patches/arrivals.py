"""A method that sends to SQS itself: what its templates may refer to, how the body gets there, and who sends.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings-workflow.html: with
CONVERT_TO_TEXT a binary body is base64 in templates.
https://docs.aws.amazon.com/apigateway/latest/developerguide/request-response-data-mappings.html
"""

from __future__ import annotations

import base64
import time
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_region
from ministack.services import apigateway_v1 as gateway
from ministack.services.cloudformation import provisioners

from tests.aws.emulator.roles import may

_context: ContextVar[dict[str, Any]] = ContextVar("the request's context")


def install() -> None:
    """Amend templates and parameters of integrations that call no function."""
    execute, send, mock = gateway._execute_in_scope, gateway._invoke_sqs_v1, gateway._invoke_mock_v1
    render, utility, respond = (
        gateway._render_request_template_v1, gateway._vtl_util, gateway._service_integration_response,
    )  # fmt: skip

    async def executed(request: dict[str, Any], *rest: Any) -> Any:
        _context.set({"requestId": request["request_id"], "requestTimeEpoch": int(time.time() * 1000)})
        return await execute(request, *rest)

    async def sent(integration: dict[str, Any], *rest: Any, **scope: Any) -> Any:
        identity = scope.get("caller_identity") or {}
        own = {"authorizer": scope.get("authorizer_context") or {}, "identity": identity}
        _context.set({**_context.get(), **own})
        headers, body = rest[6], rest[7]
        media = gateway._header_ci(headers, "content-type")
        is_binary = gateway._media_type_matches(media, scope.get("binary_media_types"))
        if body and is_binary and integration.get("contentHandling") == "CONVERT_TO_TEXT":
            rest = (*rest[:7], base64.b64encode(body), *rest[8:])
        iam_evaluator.pin_request_origin("127.0.0.1", True)  # API Gateway calls over TLS, whoever called it
        if not _may_send(integration):
            return _named(respond(integration, 403, "", "application/json", {}))
        return _named(await send(integration, *rest, **scope))

    def rendered(template: str, body: str, parameters: Any, _: Any = None) -> Any:
        return render(template, body, parameters, _context.get())

    def utilities(steps: Any, state: Any) -> Any:
        if steps and steps[0][0] == "base64Encode" and steps[0][1] is not None:
            words = gateway._vtl_split_args(steps[0][1])
            text = gateway._vtl_str(gateway._vtl_value(words[0], state)) if words else ""
            return base64.b64encode(text.encode()).decode()
        return utility(steps, state)

    def mocked(integration: Any) -> Any:
        status, headers, body = mock(integration)
        return _named((status, headers, render(body.decode(), "", {}, _context.get()).encode()))

    methods = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::Method"]
    create, update = methods["create"], methods["update"]

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        made = create(logical_id, props, stack_name)
        _set_handling(props)
        return made

    def updated(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Any:
        made = update(physical_id, old, new, stack_name)
        _set_handling(new)
        return made

    methods["create"], methods["update"] = created, updated
    gateway._execute_in_scope = executed
    gateway._invoke_sqs_v1 = sent
    gateway._render_request_template_v1 = rendered
    gateway._vtl_util = utilities
    gateway._invoke_mock_v1 = mocked


def _set_handling(props: dict[str, Any]) -> None:
    """What the template says about the body, and is dropped."""
    if wanted := (props.get("Integration") or {}).get("ContentHandling"):
        methods = gateway._resources[props["RestApiId"]][props["ResourceId"]]["resourceMethods"]
        methods[props.get("HttpMethod", "ANY")]["methodIntegration"]["contentHandling"] = wanted


def _named(answer: Any) -> Any:
    """The answer, with what its headers take from the context."""
    status, headers, body = answer
    known = {f"context.{name}": str(value) for name, value in _context.get().items()}
    return status, {name: known.get(value, value) for name, value in headers.items()}, body


def _may_send(integration: dict[str, Any]) -> bool:
    """Whether the role that API Gateway takes on may do it."""
    role = integration.get("credentials") or ""
    if not role:
        return False
    region, _, _, queue = gateway._parse_service_integration_uri(integration["uri"])
    account, _, name = queue.partition("/")
    region = region or get_region()
    return may(role, "sqs:SendMessage", f"arn:aws:sqs:{region}:{account}:{name}", account, region)
