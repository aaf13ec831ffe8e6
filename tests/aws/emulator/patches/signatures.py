"""A signature of IAM covers every header whose name starts with x-amz-: one that is not signed is refused.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ministack.core.iam_evaluator import AuthError
from ministack.services import apigateway_v1 as gateway

from tests.aws.emulator.sent import headers_as_sent

_SIGNED = re.compile(r"SignedHeaders=([^,\s]*)")
_ADDED_LATER = "x-amz-security-token"


def install() -> None:
    """Look at what is signed before a method with AWS_IAM is called."""
    authorize = gateway._authorize_request_v1

    async def authorized(api_id: str, stage_name: str, method_obj: Mapping[str, Any], *rest: Any) -> Any:
        if method_obj.get("authorizationType") == "AWS_IAM" and (name := _unsigned()):
            error = AuthError("SignatureDoesNotMatch", f"'{name}' must be a signed header.")
            return gateway.authentication_error_response(api_id, stage_name, error, {}, {}), None
        return await authorize(api_id, stage_name, method_obj, *rest)

    gateway._authorize_request_v1 = authorized


def _unsigned() -> str | None:
    """A header that should have been signed, and is not."""
    sent = {name.lower(): value for name, value in headers_as_sent()}
    found = _SIGNED.search(sent.get("authorization", ""))
    signed = {_ADDED_LATER, *found[1].split(";")} if found else {_ADDED_LATER}
    return next((name for name in sent if name.startswith("x-amz-") and name not in signed), None)
