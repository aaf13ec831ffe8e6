"""The archive in S3: one bucket a channel, objects under their declared names, never over what is not ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from headgate.aws.clients import Clients, Declined
from headgate.aws.pages import TRIES, Threads, pause
from headgate.engine import Archive, ArchiveObject
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S

log = logging.getLogger("headgate.aws")

_TAKEN = "PreconditionFailed"
_AT_ONCE = "ConditionalRequestConflict"
_ABSENT = ("NoSuchKey", "NotFound", "404")


class S3Archive(Archive):
    """`buckets` by the names of channels. An object is there when its whole is."""

    def __init__(self, buckets: Mapping[str, str], clients: Clients, threads: Threads) -> None:
        self._buckets = buckets
        self._clients = clients
        self._threads = threads

    def put(self, objects: Sequence[ArchiveObject]) -> list[str | None]:
        return self._threads.in_parallel(self._put, objects)

    def get(self, channel: str, name: str) -> bytes | None:
        found = self._held(channel, name)
        return None if found is None else found[0]

    def delete(self, channel: str, name: str) -> bool:
        try:
            self._call("head_object", channel, name)
        except Declined as declined:
            if declined.code in _ABSENT:
                return False
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
        self._call("delete_object", channel, name)
        return True

    def _put(self, item: ArchiveObject) -> str | None:
        try:
            for name in (item.name, f"{item.name}~{item.mark}"):
                if self._keep(item, name):
                    return name
            log.error("an object was not kept: both its names hold other bytes")
        except (Unavailable, Declined):
            return None
        return None

    def _keep(self, item: ArchiveObject, name: str) -> bool:
        """False where the name holds bytes that are not this message's."""
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        for attempt in range(TRIES):
            try:
                self._call("put_object", item.channel, name, Body=item.body, ContentType=item.content_type, **condition)
            except Declined as declined:
                if declined.code not in (_TAKEN, _AT_ONCE, *_ABSENT):
                    raise
                if declined.code == _AT_ONCE:
                    pause(attempt)
            else:
                return True
            held = self._held(item.channel, name)
            if held is None:
                condition = {"IfNoneMatch": "*"}
            elif held[0] == item.body:
                return True
            elif held[0] != item.replaces:
                return False
            else:
                condition = {"IfMatch": held[1]}
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _held(self, channel: str, name: str) -> tuple[bytes, str] | None:
        """The bytes of an object, and the tag that stands for them."""
        try:
            answer = self._call("get_object", channel, name)
            return answer["Body"].read(), answer["ETag"]
        except Declined as declined:
            if declined.code in _ABSENT:
                return None
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - the connection broke off
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None

    def _call(self, operation: str, channel: str, name: str, **parameters: Any) -> dict[str, Any]:
        return self._clients.call("s3", operation, Bucket=self._buckets[channel], Key=name, **parameters)
