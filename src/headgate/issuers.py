"""The public keys that issuers of tokens publish: fetched when they are needed, kept for a time, good in an outage."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

from headgate.clock import Clock
from headgate.declare.auth import jwks_url_fault
from headgate.errors import Unavailable

log = logging.getLogger("headgate.issuers")

FRESH_S = 600
"""Published keys are asked for anew when they are older."""
MISSING_S = 60
"""Because of a key id that is not among them, or after a failure, they are asked for at most this often."""
FIRST_S = 5
"""While there were never any, they are asked for at most this often."""

_TIMEOUT_S = 5  # for the whole answer
_SILENCE_S = 5  # for the next piece of it
_MOST_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024

Jwks = Sequence[Mapping[str, Any]]


class Published(NamedTuple):
    """What is known of the keys at one URL: the last good ones, None where there never were any.

    They are fresh until `stale_s`; no miss and no failure leads to another fetch before `again_s`.
    """

    keys: Jwks | None = None
    stale_s: float = float("-inf")
    again_s: float = float("-inf")


class Issuers:
    """What `Keys.jwks` promises. Fetches in the calling thread; of several threads that need the same keys one does,
    the rest wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._published: dict[str, Published] = {}
        self._fetching: dict[str, threading.Lock] = {}

    def jwks(self, url: str, *, missing: bool) -> Jwks:
        """The public keys at `url`; see `Keys.jwks`."""
        known = self._published.get(url, Published())
        if known.keys is None or missing or self._clock.elapsed_s() >= known.stale_s:
            with self._fetching.setdefault(url, threading.Lock()):
                known = self._refreshed(url, missing)
        if known.keys is None:
            raise Unavailable(
                "The keys that tokens are signed with cannot be had right now. Send it again in a moment.",
                reason="jwks_unavailable",
                retry_after_s=FIRST_S,
            )
        return known.keys

    def _refreshed(self, url: str, missing: bool) -> Published:
        """What is known after a fetch, if one is due; the caller holds the URL's lock."""
        known = self._published.get(url, Published())
        now_s = self._clock.elapsed_s()
        if now_s < known.again_s or (now_s < known.stale_s and not missing):
            return known
        try:
            keys = fetch_jwks(url, self._clock)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            # From now, after the wait: else those who waited for the lock meanwhile would each wait as long, in turn.
            again_s = self._clock.elapsed_s() + (FIRST_S if known.keys is None else MISSING_S)
            known = known._replace(again_s=again_s)
            log.warning(
                "the keys at %s could not be fetched (%s)%s",
                _without_query(url),
                type(error).__name__,
                "" if known.keys is None else "; the last good ones stay in use",
            )
        else:
            known = Published(keys, now_s + FRESH_S, now_s + MISSING_S if missing else known.again_s)
        self._published[url] = known
        return known


def fetch_jwks(url: str, clock: Clock) -> Jwks:
    """The JWK objects in the set that `url` answers with. Follows no redirect.

    Raises OSError, HTTPException, ValueError or RecursionError where no set of at most 1 MiB comes in time.
    """
    if fault := jwks_url_fault(url):
        raise ValueError(fault)
    # http is for this machine only, where no proxy can stand in between.
    proxies = [ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    opener = build_opener(AnyAnswer, *proxies)
    deadline_s = clock.elapsed_s() + _TIMEOUT_S
    content = bytearray()
    with opener.open(Request(url, headers={"Accept": "application/json"}), timeout=_SILENCE_S) as response:  # noqa: S310
        if response.status != 200:
            raise ValueError("the answer is not 200")
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError("the answer is longer than 1 MiB")
            if clock.elapsed_s() > deadline_s:
                raise TimeoutError("the answer takes too long")
    document = json.loads(content)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("the answer is not a set of keys")
    return tuple(key for key in document["keys"] if isinstance(key, dict))


class AnyAnswer(HTTPErrorProcessor):
    """Hands over whatever answer came; above all it follows no redirect."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:  # noqa: ARG002
        return response

    https_response = http_response


def _without_query(url: str) -> str:
    return url.partition("?")[0]
