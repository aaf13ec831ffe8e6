"""Who may post: one of these is declared for every channel."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from typing import ClassVar, Literal, get_args
from urllib.parse import urlsplit

from headgate import limits
from headgate.declare.settings import Setting
from headgate.declare.shape import MAYBE_SETTING, SETTING, SETTINGS, TEXT, TEXTS, WHOLE, given, misfits
from headgate.http import Request

Style = Literal["standard", "stripe", "github"]

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_ALGORITHMS = {"secret": ("HS256",), "public_key": ("RS256", "ES256"), "jwks_url": ("RS256", "ES256")}
_JWT = {
    "issuer": SETTING,
    "audience": SETTING,
    "secret": MAYBE_SETTING,
    "public_key": MAYBE_SETTING,
    "jwks_url": MAYBE_SETTING,
    "algorithms": TEXTS,
    "scopes": TEXTS,
    "leeway_s": WHOLE,
}
_IAM = {"region": TEXT}
_CAPITALS = re.compile(r"[A-Z][A-Z0-9_]*")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
_SIGNED = {"secret": SETTINGS, "window_s": WHOLE}


@dataclass(frozen=True, slots=True)
class Public:
    """Anyone. Nothing can be read from such a channel, but with `read=True`."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key made by `headgate keys create CHANNEL`, sent as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.

    A key holds 190 random bits, is shown once, and is stored as a hash. The principal is the key's id.
    """


@dataclass(frozen=True, slots=True)
class Jwt:
    """A JSON Web Token, sent as `Authorization: Bearer TOKEN`. The principal is `sub`.

    `exp`, `iss`, `aud` and `sub` are required of every token; `nbf` and `iat` must not lie ahead. Give one of
    `secret` (HS256, at least 32 bytes), `public_key` (PEM text, RS256 or ES256) and `jwks_url` (https).
    `algorithms` defaults to what fits the key: HS256; or RS256 and ES256. A token that lacks one of `scopes`
    (claim `scope`, separated by spaces, or `scp`) is 403. `leeway_s` is at most 60 seconds.
    """

    issuer: Setting = ""
    audience: Setting = ""
    secret: Setting | None = None
    public_key: Setting | None = None
    jwks_url: Setting | None = None
    algorithms: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    leeway_s: int = 0

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Jwt ", given(self, _JWT), _JWT)):
            yield from wrong
            return
        for name in ("issuer", "audience"):
            if not getattr(self, name):
                yield f"Jwt needs `{name}=`: a token made for someone else must not open this channel."
        if not 0 <= self.leeway_s <= limits.JWT_LEEWAY.value:
            yield f"Jwt `leeway_s=` must be 0 to {limits.JWT_LEEWAY.value}."
        kinds = [name for name in _ALGORITHMS if getattr(self, name) is not None]
        if len(kinds) != 1:
            yield "Jwt needs exactly one of secret, public_key and jwks_url."
            return
        allowed = _ALGORITHMS[kinds[0]]
        if other := ", ".join(name for name in self.algorithms if name not in allowed):
            yield f"Jwt with {kinds[0]} takes the algorithms {', '.join(allowed)}; {other} is not among them."
        least = limits.HS256_SECRET.value
        if isinstance(self.secret, str) and len(self.secret.encode()) < least:
            yield f'Jwt: its secret is shorter than {least} bytes; make a longer one, or say secret=Secret("NAME").'
        if isinstance(self.jwks_url, str) and (fault := jwks_url_fault(self.jwks_url)):
            yield f"Jwt: {fault}"


@dataclass(frozen=True, slots=True)
class Signed:
    """An HMAC-SHA256 over the body, as webhook senders make it. For rotation several secrets may be valid.

    - `standard`: Standard Webhooks, headers `webhook-id`, `webhook-timestamp`, `webhook-signature`; the
      secret is `whsec_` and base64, or any other text, taken as it is
    - `stripe`: header `Stripe-Signature: t=...,v1=...`
    - `github`: header `X-Hub-Signature-256: sha256=...`; GitHub sends no timestamp, so it has no window:
      declare `key=Header("x-github-delivery")` against replays

    `window_s` is how far the timestamp may be off, either way. The principal is the style's name.
    """

    secret: Setting | tuple[Setting, ...]
    style: Style = "standard"
    window_s: int = 300

    @property
    def secrets(self) -> tuple[Setting, ...]:
        """The secrets, always as a tuple."""
        return self.secret if isinstance(self.secret, tuple) else (self.secret,)

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Signed ", given(self, _SIGNED), _SIGNED)):
            yield from wrong
            return
        if not all(self.secrets):
            yield "Signed needs a secret that is not empty."
        if any(isinstance(secret, str) and _CAPITALS.fullmatch(secret) for secret in self.secrets):
            yield 'Signed: its secret is the name of a variable, not what the variable holds; say Secret("NAME").'
        if self.style not in get_args(Style):
            yield f'Signed `style=` is {self.style!r}; say "standard", "stripe" or "github".'
        if not 0 < self.window_s <= limits.SIGNED_WINDOW.value:
            yield f"Signed `window_s=` must be 1 to {limits.SIGNED_WINDOW.value} seconds."


@dataclass(frozen=True, slots=True)
class Iam:
    """AWS Signature Version 4, as `aws` tools and SDKs sign. On AWS, API Gateway and IAM decide who may post.

    Here the access keys are those that `headgate dev` or `headgate keys create CHANNEL` made. A request must sign its
    headers host and x-amz-*, its body, `region` and the service execute-api, at most 5 minutes ago. Whatever is
    wrong is 403. The principal is the access key's id; on AWS the ARN of the caller. Needs the extra `iam`.
    """

    region: str = "us-east-1"

    service: ClassVar[str] = "execute-api"

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Iam ", given(self, _IAM), _IAM)):
            yield from wrong
            return
        if not _REGION.fullmatch(self.region):
            yield f'Iam `region=` is {self.region!r}; say the name of an AWS region, as in "eu-west-1".'
        if find_spec("botocore") is None:
            yield "Iam needs botocore to check signatures; add it with `pip install 'headgate[iam]'`."


Auth = Public | ApiKey | Jwt | Signed | Iam | Callable[[Request], str | Awaitable[str]]
"""A function of your own returns the principal, or raises `Unauthorized` or `Forbidden`.

It may be `async def`. It runs outside the event loop, with the request (without its body). Any other exception is
answered 500 and lets nobody in.
"""


def jwt_algorithms(auth: Jwt) -> tuple[str, ...]:
    """The algorithms a token may be signed with: the declared ones, else all that fit the kind of key."""
    fitting = (allowed for name, allowed in _ALGORITHMS.items() if getattr(auth, name) is not None)
    return auth.algorithms or next(fitting, ())


def jwks_url_fault(url: str) -> str | None:
    """Why keys cannot be fetched from `url`, as a sentence without the URL; None where they can."""
    fault = url_fault(url)
    return None if fault is None else f"its jwks_url {fault}"


def url_fault(url: str) -> str | None:
    """Why nothing is asked of or sent to `url`, as a sentence that lacks its subject; None where it can be."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not _VISIBLE.fullmatch(url):
        return "is not a URL."
    if "@" in parts.netloc:
        return "has a user name in it, which would be seen in logs."
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return None
    return "must start with https:// (http:// only for this machine, as in http://127.0.0.1)."


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself: `localhost`, or an address such as 127.0.0.1 or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
