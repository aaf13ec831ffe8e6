"""The path of a request stays as it was sent, percent-encoding and all: `a%2Fb` is one part of it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html: of a REST API's requests
only parameters are decoded.
"""

from __future__ import annotations

from tests.aws.emulator import sent


def install() -> None:
    """Have paths of APIs handed over as they were sent."""
    sent.keep_paths_of(lambda path: "/_user_request_" in path)
