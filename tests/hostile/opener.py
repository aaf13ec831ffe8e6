"""A hook for schemathesis: every request brings what opens its channel, so that what is behind the doors is tested.

`st` loads it; the API key is in the environment variable HOSTILE_API_KEY.
"""

from __future__ import annotations

import os
from typing import Any

import requests
import schemathesis
from requests import PreparedRequest

from tests.hostile.target import signature, token


class Opener(requests.auth.AuthBase):
    """Credentials for all channels at once; the last thing that is done to a request, since one is over its body."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        request.headers["Authorization"] = f"Bearer {token()}"
        request.headers["X-Api-Key"] = os.environ["HOSTILE_API_KEY"]
        request.headers["X-Name"] = "someone"
        request.headers["X-Hub-Signature-256"] = signature(body if isinstance(body, bytes) else str(body).encode())
        return request


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Called by schemathesis before every request."""
    kwargs["auth"] = Opener()
