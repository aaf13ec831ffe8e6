"""What every kind of credentials shares: what a verifier is, what a principal is, how a sender is refused."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, Protocol, TypeGuard

from headgate import limits
from headgate.declare.settings import Env, Setting
from headgate.errors import Forbidden, Misuse, Unauthorized
from headgate.gate.effects import Effect
from headgate.http import Request
from headgate.message import key_fault

Verification = Generator[Effect, Any, str]


class ChannelVerifier(Protocol):
    """Tells who sent a request to one channel.

    `verify` returns the principal ("" on a Public channel), or raises Unauthorized or Forbidden. Where
    `needs_body` it must be given the body exactly as it came, else None. Many verifications may be under way
    at a time, on one thread.
    """

    @property
    def needs_body(self) -> bool: ...

    def verify(self, request: Request, body: bytes | None) -> Verification: ...


class Bearer(NamedTuple):
    """The Bearer scheme (RFC 6750), as one channel speaks it. `realm` is the channel's name; `how` tells whoever
    sent nothing."""

    realm: str
    how: str = "Send credentials in the header Authorization: Bearer."

    def token(self, request: Request) -> bytes:
        """What was sent behind `Authorization: Bearer`; refused where nothing was, or far too much."""
        header = request.headers.get(b"authorization", b"")
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise self.missing()
        if len(token) > limits.TOKEN.value:
            raise self.refused("token_too_long", f"The token is longer than {limits.TOKEN.value} bytes.")
        return token.lstrip(b" ")

    def missing(self) -> Unauthorized:
        """No credentials of this scheme came in: the challenge names no error."""
        return Unauthorized(
            self.how,
            reason="no_credentials",
            headers=(("WWW-Authenticate", f'Bearer realm="{self.realm}"'),),
        )

    def refused(self, reason: str, sentence: str) -> Unauthorized:
        """Credentials came in and are not good."""
        challenge = f'Bearer realm="{self.realm}", error="invalid_token"'
        return Unauthorized(sentence, reason=reason, headers=(("WWW-Authenticate", challenge),))

    def too_little(self, scopes: tuple[str, ...]) -> Forbidden:
        """Good credentials that do not reach as far as this channel."""
        challenge = f'Bearer realm="{self.realm}", error="insufficient_scope", scope="{" ".join(scopes)}"'
        return Forbidden(
            "The token lacks a scope that this channel asks for.",
            reason="insufficient_scope",
            headers=(("WWW-Authenticate", challenge),),
        )


def is_principal(value: object) -> TypeGuard[str]:
    """Whether `value` can stand for a sender: what holds for a key holds for it, since keys may count per sender."""
    return isinstance(value, str) and key_fault(value) is None


def resolved(setting: Setting, settings: Mapping[str, str], owner: str) -> str:
    """The value of a setting of `owner`, as in `Channel /orders`. Raises Misuse where it has none."""
    if isinstance(setting, str):
        value = setting
    elif isinstance(setting, Env):
        value = settings.get(setting.name, setting.default or "")
    else:
        value = settings.get(setting.name, "")
    if not value:
        name = "a setting" if isinstance(setting, str) else setting.name
        raise Misuse(f"{owner}: {name} is not set, or empty.")
    return value
