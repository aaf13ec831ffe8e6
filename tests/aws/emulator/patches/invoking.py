"""A function is invoked by whom its resource policy names.

https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
"""

from __future__ import annotations

from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_region, request_scope
from ministack.services import apigateway_v1 as gateway
from ministack.services import lambda_svc

_GATEWAY = "apigateway.amazonaws.com"


def install() -> None:
    """Look at the policy before API Gateway invokes a function, as integration or as authorizer."""
    integrate, ask = gateway._invoke_lambda_proxy_v1, gateway._invoke_authorizer_lambda

    async def integrated(
        integration: Any, api: str, stage_name: str, stage: Any, resource: Any, path: str, method: str,
        *rest: Any, **scope: Any,
    ) -> Any:  # fmt: skip
        account, region = scope["owner_account_id"], scope["owner_region"]
        caller = f"arn:aws:execute-api:{region}:{account}:{api}/{stage_name}/{method}{resource['path']}"
        if not _may_invoke(integration.get("uri", ""), caller, account, region):
            return gateway._gw_error("API_CONFIGURATION_ERROR", "Internal server error")
        return await integrate(integration, api, stage_name, stage, resource, path, method, *rest, **scope)

    async def asked(authorizer: Any, event: Any, account: str, region: str) -> Any:
        api = event["methodArn"].split(":")[5].partition("/")[0]
        caller = f"arn:aws:execute-api:{region}:{account}:{api}/authorizers/{authorizer.get('id')}"
        own_role = authorizer.get("authorizerCredentials")
        if not own_role and not _may_invoke(authorizer.get("authorizerUri", ""), caller, account, region):
            return None  # which ends as AUTHORIZER_CONFIGURATION_ERROR
        return await ask(authorizer, event, account, region)

    gateway._invoke_lambda_proxy_v1 = integrated
    gateway._invoke_authorizer_lambda = asked


def _may_invoke(uri: str, caller: str, account: str, region: str) -> bool:
    return may_be_invoked(gateway._extract_lambda_ref_from_integration_uri(uri), _GATEWAY, caller, account, region)


def may_be_invoked(reference: Any, service: str, caller: str, account: str, region: str) -> bool:
    """Whether the policy of a function lets a service invoke it, on behalf of the resource with the ARN `caller`."""
    with request_scope(account, region):
        function, config, _ = lambda_svc._get_func_record_for_ref(reference)
        if function is None:
            return True  # that it does not exist is told elsewhere
        base = lambda_svc._get_base_func_record_for_ref(reference)[0] or function
        asked = iam_evaluator.EvalContext(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action="lambda:InvokeFunction",
            resource_arn=config["FunctionArn"],
            region=get_region(),
            service_context={"aws:sourcearn": caller, "aws:sourceaccount": account},
        )
        verdict = iam_evaluator.evaluate_resource_policy(base.get("policy") or {}, asked, service)
        return str(verdict.decision) == "Allow"
