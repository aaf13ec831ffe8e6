"""The bucket of the bodies that are too large for a row, and messages made whole with them."""

from __future__ import annotations

from typing import Any

from headgate.aws.clients import Clients, Declined
from headgate.aws.layout import BODY_AT, ORIGINAL_AT, Layout
from headgate.aws.rows import Values, message_of
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S
from headgate.message import Message


class Bodies:
    """Every verb raises Unavailable where the bucket cannot be reached, or does not have what a row says it has."""

    def __init__(self, bucket: str, clients: Clients) -> None:
        self._bucket = bucket
        self._clients = clients

    def put(self, at: str, body: bytes) -> None:
        """Keep a body. Addresses are made of what they hold, so that repeating it does no harm."""
        self._call("put_object", Key=at, Body=body, ContentType="application/json")

    def whole(self, layout: Layout, values: Values) -> Message:
        """The message of a row, with its body and its original, wherever they lie."""
        body = self._at(values, BODY_AT)
        return message_of(layout, values, body or b"", self._at(values, ORIGINAL_AT))

    def remove(self, values: Values) -> None:
        """Remove what belongs to a row."""
        for name in (BODY_AT, ORIGINAL_AT):
            if name in values:
                self._call("delete_object", Key=values[name]["S"])

    def _at(self, values: Values, name: str) -> bytes | None:
        if name not in values:
            return None
        answer = self._call("get_object", Key=values[name]["S"])
        try:
            body: bytes = answer["Body"].read()
        except Exception:  # noqa: BLE001 - the connection broke off
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
        return body

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("s3", operation, Bucket=self._bucket, **parameters)
        except Declined:
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
