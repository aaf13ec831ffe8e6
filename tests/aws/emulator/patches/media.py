"""A request without a media type counts as application/json.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings-workflow.html
"""

from __future__ import annotations

from collections.abc import Sequence

from ministack.services import apigateway_v1 as gateway


def install() -> None:
    """Amend the comparison with binaryMediaTypes."""
    matches = gateway._media_type_matches

    def matched(media_type: str | None, binary: Sequence[str]) -> bool:
        found: bool = matches(media_type or "application/json", binary)
        return found

    gateway._media_type_matches = matched
