"""AWS Signature Version 4: what a request has to say and to sign. The signature itself is made anew by the engine."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.errors import Broken, Forbidden
from headgate.gate.credentials import Verification
from headgate.gate.effects import Resign, Resigned
from headgate.http import Request

_STAMP = "%Y%m%dT%H%M%SZ"
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]{1,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request,"
    r"\s*SignedHeaders=([^;,\s]+(?:;[^;,\s]+)*),\s*Signature=([0-9a-f]{64})",
    re.ASCII,
)
_TOKEN = "x-amz-security-token"  # noqa: S105 - the name of a header
_NO_SIGNATURE = "0" * 64


class Claim(NamedTuple):
    """What the header Authorization says."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str


class IamVerifier:
    """Lets in who signs with the secret of an access key that is known here. The principal is the access key's id.

    Whatever is wrong is 403, as AWS answers. An unknown key and a bad signature are told the same, in the same time.
    """

    needs_body = True

    def __init__(self, channel: str, region: str, service: str, clock: Clock) -> None:
        self._channel = channel
        self._region = region
        self._service = service
        self._clock = clock

    def verify(self, request: Request, body: bytes | None) -> Verification:
        if body is None:
            raise Broken(reason="body_not_read")
        claim = self._claim(request)
        stamp = self._stamp(request, claim)
        digest = hashlib.sha256(body).hexdigest()
        if request.headers.get(b"x-amz-content-sha256", digest.encode()) != digest.encode():
            raise _refused("signature_body", "The header X-Amz-Content-SHA256 is not the hash of the body.")
        made: Resigned | None = yield Resign(
            claim.access_key_id, request, claim.signed, digest, stamp, self._region, self._service
        )
        fits = hmac.compare_digest(_NO_SIGNATURE if made is None else made.signature, claim.signature)
        token = request.headers.get(_TOKEN.encode(), b"").strip()
        owns = hmac.compare_digest(token, b"" if made is None else made.session_token.encode())
        if made is None or not fits or not owns:
            raise _refused("signature_mismatch", "The signature, or the access key it is made with, is not valid.")
        if made.expired:
            raise _refused("session_expired", "The session token has expired.")
        if made.channel not in ("", self._channel):
            raise Forbidden(reason="iam_channel")
        return claim.access_key_id

    def _claim(self, request: Request) -> Claim:
        """What is claimed, as far as it can be judged without the secret."""
        header = request.headers.get(b"authorization", b"").decode("latin-1").strip()
        if not header:
            raise _refused(
                "no_credentials", "Sign the request with AWS Signature Version 4, in the header Authorization."
            )
        parts = _HEADER.fullmatch(header) if len(header) <= limits.TOKEN.value else None
        sent = [name.decode("latin-1") for name, _ in request.fields]
        if parts is None or sent.count("authorization") > 1 or "#" in request.path + request.query:
            raise _refused("signature_malformed", "The header Authorization is no AWS Signature Version 4.")
        claim = Claim(parts[1], parts[2], parts[3], parts[4], tuple(parts[5].split(";")), parts[6])
        if (claim.region, claim.service) != (self._region, self._service):
            raise _refused("signature_scope", f"Sign for the region {self._region} and the service {self._service}.")
        signed = set(claim.signed)
        if list(claim.signed) != sorted(signed) or not signed <= set(sent):
            raise _refused("signature_malformed", "SignedHeaders must name headers that were sent, once and in order.")
        # A session token may be added after signing: it is compared with the key's own, so nothing can be passed off.
        unsigned = {name for name in sent if name.startswith("x-amz-") and name != _TOKEN} - signed
        if "host" not in signed or unsigned:
            raise _refused("signature_headers", "Sign the header host, and every header whose name starts with x-amz-.")
        return claim

    def _stamp(self, request: Request, claim: Claim) -> str:
        """The time of signing, as it is signed: X-Amz-Date, else Date."""
        name = b"x-amz-date" if b"x-amz-date" in request.headers else b"date"
        value = request.headers.get(name, b"").decode("latin-1").strip()
        try:
            at = (
                datetime.strptime(value, _STAMP).replace(tzinfo=UTC)
                if name == b"x-amz-date"
                else parsedate_to_datetime(value).astimezone(UTC)
            )
        except (ValueError, OverflowError):
            raise _refused("signature_date", "Send the time of signing as X-Amz-Date: YYYYMMDDTHHMMSSZ.") from None
        stamp = at.strftime(_STAMP)
        if name.decode() not in claim.signed or claim.date != stamp[:8]:
            raise _refused("signature_date", "The time of signing must be signed, and its day be that of the scope.")
        if abs(self._clock.now_ms() - at.timestamp() * 1000) > limits.IAM_SKEW.value * 1000:
            raise _refused("signature_window", "The time of signing is too far from now.")
        return stamp


def _refused(reason: str, sentence: str) -> Forbidden:
    return Forbidden(sentence, reason=reason)
