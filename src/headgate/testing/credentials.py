"""What a sender has to show: the headers that open a channel, made from the secrets its declaration names."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from headgate.clock import Clock
from headgate.declare.auth import ApiKey, Iam, Jwt, Signed
from headgate.declare.channel import Channel
from headgate.gate.credentials import resolved

SENDER = "test-user"
"""Who sends, where nothing else is said."""

_TOKEN_S = 3_600
_PREFIX = "whsec_"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """`settings` holds the value of every Secret and Env by its name, `api_keys` a key for each channel's name.

    `iam` is an access key as `headgate keys --json` tells it; `session_token` may be in it.
    """

    settings: Mapping[str, str]
    clock: Clock
    api_keys: Mapping[str, str] = field(default_factory=dict)
    iam: Mapping[str, str] = field(default_factory=dict, repr=False)

    def headers(
        self,
        channel: Channel,
        body: bytes,
        *,
        sender: str = SENDER,
        id_: str = "msg_1",
        url: str = "",
        method: str = "POST",
    ) -> dict[str, str]:
        """The headers; none for a channel that is public, or that trusts an issuer or a function we do not have.

        `sender` is the `sub` of a token; `id_` the message id that goes into a Standard Webhooks signature; `method`
        and `url`, exactly as it will be asked for, go into that of an Iam channel.
        """
        match channel.auth:
            case Jwt(secret=secret) as auth if secret is not None:
                return {"Authorization": f"Bearer {self.token(channel, auth, sender)}"}
            case ApiKey() if channel.name in self.api_keys:
                return {"Authorization": f"Bearer {self.api_keys[channel.name]}"}
            case Signed() as auth:
                secret = resolved(auth.secrets[0], self.settings, f"Channel {channel.path}")
                return signature(auth.style, secret, body, self._now_s(), id_)
            case Iam() if self.iam:
                return aws_signature(self.iam, method, url, body, self.clock)
            case _:
                return {}

    def token(self, channel: Channel, auth: Jwt, sender: str, expires_s: int = _TOKEN_S, /, **claims: object) -> str:
        """An HS256 token for a channel that declares a secret. `claims` come on top; one that is None is left out."""
        import jwt

        from headgate.gate.tokens import hs256_key

        assert auth.secret is not None, "only a channel with a secret can be opened from here"
        all_claims: dict[str, object] = {
            "iss": resolved(auth.issuer, self.settings, f"Channel {channel.path}"),
            "aud": resolved(auth.audience, self.settings, f"Channel {channel.path}"),
            "sub": sender,
            "iat": self._now_s(),
            "exp": self._now_s() + expires_s,
            "scope": " ".join(auth.scopes) or None,
            **claims,
        }
        payload = {name: value for name, value in all_claims.items() if value is not None}
        secret = resolved(auth.secret, self.settings, f"Channel {channel.path}").encode()
        return jwt.encode(payload, hs256_key(secret, channel.path), algorithm="HS256")

    def _now_s(self) -> int:
        return self.clock.now_ms() // 1000


def aws_signature(iam: Mapping[str, str], method: str, url: str, body: bytes, clock: Clock) -> dict[str, str]:
    """The headers that sign a request by AWS Signature Version 4; of its headers, only those without which it cannot
    be. Needs the extra `iam`."""
    from headgate.local.sigv4 import signature

    target = urlsplit(url)
    port = "" if target.port in (None, _PORTS.get(target.scheme)) else f":{target.port}"
    host = f"[{target.hostname}]" if ":" in (target.hostname or "") else target.hostname
    stamp = datetime.fromtimestamp(clock.now_ms() // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": f"{host}{port}", "x-amz-date": stamp}
    if iam.get("session_token"):
        headers["x-amz-security-token"] = iam["session_token"]
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = f"{stamp[:8]}/{iam['region']}/{iam['service']}/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    path = target.path or "/"
    made = signature(
        iam["secret_access_key"],
        method,
        path,
        target.query,
        fields,
        [*headers],
        digest,
        stamp,
        iam["region"],
        iam["service"],
    )
    del headers["host"]  # every client makes its own
    credential = f"Credential={iam['access_key_id']}/{scope}"
    signed = ";".join(["host", *headers])
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={signed}, Signature={made}"}


def signature(style: str, secret: str, body: bytes, now_s: int, id_: str) -> dict[str, str]:
    """The headers with which a webhook sender of that style signs a body."""
    match style:
        case "standard":
            key = base64.b64decode(secret.removeprefix(_PREFIX)) if secret.startswith(_PREFIX) else secret.encode()
            mac = hmac.digest(key, f"{id_}.{now_s}.".encode() + body, "sha256")
            signed = f"v1,{base64.b64encode(mac).decode()}"
            return {"webhook-id": id_, "webhook-timestamp": str(now_s), "webhook-signature": signed}
        case "stripe":
            mac = hmac.digest(secret.encode(), f"{now_s}.".encode() + body, "sha256")
            return {"Stripe-Signature": f"t={now_s},v1={mac.hex()}"}
        case _:
            mac = hmac.digest(secret.encode(), body, "sha256")
            return {"X-Hub-Signature-256": f"sha256={mac.hex()}"}
