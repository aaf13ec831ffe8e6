"""Webhook signatures: an HMAC-SHA256 over the body, in the styles of Standard Webhooks, Stripe and GitHub."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import NamedTuple

from headgate.clock import Clock
from headgate.declare.auth import Signed
from headgate.errors import Broken, Misuse, Unauthorized
from headgate.gate.credentials import Verification
from headgate.http import Request

_PREFIX = "whsec_"
_HEADERS = {
    "standard": "headers webhook-id, webhook-timestamp and webhook-signature",
    "stripe": "header Stripe-Signature",
    "github": "header X-Hub-Signature-256",
}
_SECONDS = re.compile(rb"[0-9]{1,12}")


class Claim(NamedTuple):
    """What a request says about its signature. `timestamp` is None in a style that has none.

    A signature fits when it is the MAC of `prefix` followed by the body, by any of the secrets.
    """

    prefix: bytes
    timestamp: bytes | None
    signatures: list[bytes]


class SignedVerifier:
    """Verifies the declared style. The principal is the style's name."""

    needs_body = True

    def __init__(self, auth: Signed, secrets: list[str], channel: str, realm: str, clock: Clock) -> None:
        self._style = auth.style
        self._window_ms = auth.window_s * 1000
        self._keys = [signing_key(secret, auth.style, f"Channel {channel}") for secret in secrets]
        self._realm = realm
        self._clock = clock

    def verify(self, request: Request, body: bytes | None) -> Verification:
        yield from ()
        if body is None:
            raise Broken(reason="body_not_read")
        claim = self._claim(request)
        if claim is None:
            raise self._refused("signature_missing", f"Sign the body, and send the {_HEADERS[self._style]}.")
        if not self._fits(claim, body):
            raise self._refused("signature_mismatch", "The signature does not fit the body.")
        if claim.timestamp is not None and not self._within_window(claim.timestamp):
            raise self._refused("signature_window", "The signature's timestamp is too far from now.")
        return self._style

    def _claim(self, request: Request) -> Claim | None:
        """None where a header is absent or empty."""
        match self._style:
            case "standard":
                return _standard(request)
            case "stripe":
                return _stripe(request)
            case "github":
                return _github(request)

    def _fits(self, claim: Claim, body: bytes) -> bool:
        signed = claim.prefix + body
        macs = [hmac.digest(key, signed, "sha256") for key in self._keys]
        spelled = [base64.b64encode(mac) if self._style == "standard" else mac.hex().encode() for mac in macs]
        # All pairs are compared, whether or not an earlier one fitted.
        return sum(hmac.compare_digest(good, sent) for good in spelled for sent in claim.signatures) > 0

    def _within_window(self, timestamp: bytes) -> bool:
        if not _SECONDS.fullmatch(timestamp):
            return False
        return abs(self._clock.now_ms() - int(timestamp) * 1000) <= self._window_ms

    def _refused(self, reason: str, sentence: str) -> Unauthorized:
        challenge = f'HMAC-SHA256 realm="{self._realm}"'
        return Unauthorized(sentence, reason=reason, headers=(("WWW-Authenticate", challenge),))


def _standard(request: Request) -> Claim | None:
    id_, timestamp, header = (
        request.headers.get(name, b"") for name in (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    )
    if not (id_ and timestamp and header):
        return None
    pairs = [part.partition(b",") for part in header.split(b" ")]
    signatures = [signature for version, _, signature in pairs if version == b"v1"]
    return Claim(id_ + b"." + timestamp + b".", timestamp, signatures)


def _stripe(request: Request) -> Claim | None:
    header = request.headers.get(b"stripe-signature")
    if not header:
        return None
    pairs = [part.strip(b" ").partition(b"=") for part in header.split(b",")]
    timestamps = [value for name, _, value in pairs if name == b"t"]
    signatures = [value for name, _, value in pairs if name == b"v1"]
    if len(timestamps) != 1:
        return Claim(b"", b"", [])
    return Claim(timestamps[0] + b".", timestamps[0], signatures)


def _github(request: Request) -> Claim | None:
    header = request.headers.get(b"x-hub-signature-256")
    if not header:
        return None
    algorithm, _, signature = header.partition(b"=")
    return Claim(b"", None, [signature] if algorithm == b"sha256" else [])


def signing_key(secret: str, style: str, owner: str) -> bytes:
    """The bytes a secret stands for: only Standard Webhooks spells them in base64, behind `whsec_`."""
    if style != "standard" or not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise Misuse(f"{owner}: a secret that starts with {_PREFIX} must go on in base64.")
    return key
