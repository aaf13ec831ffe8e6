"""Who is it? One verifier for each channel, made with the gate. Sans I/O: look-ups are yielded as effects."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Awaitable, Callable, Mapping

from headgate import limits
from headgate.clock import Clock
from headgate.declare.auth import ApiKey, Iam, Jwt, Public, Signed
from headgate.declare.channel import Channel
from headgate.engine import ApiKeyRow
from headgate.errors import Broken, Forbidden, Refusal, Unauthorized
from headgate.gate.credentials import Bearer, Verification, is_principal, resolved
from headgate.gate.credentials import ChannelVerifier as ChannelVerifier
from headgate.gate.effects import Call, LookUpKey
from headgate.gate.iam import IamVerifier
from headgate.gate.signed import SignedVerifier
from headgate.http import Problem, Request

_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 12
_SECRET_LENGTH = 32  # of 62 characters each: 190 random bits
_KEY = re.compile(rb"hg_([0-9A-Za-z]{%d})_[0-9A-Za-z]{%d}" % (_ID_LENGTH, _SECRET_LENGTH))
_NO_DIGEST = bytes(hashlib.sha256().digest_size)


def verifier_for(channel: Channel, settings: Mapping[str, str], clock: Clock) -> ChannelVerifier:
    """The verifier of a channel. `settings` holds the value of every Secret and Env by its name.

    Raises Misuse, with one sentence, for a setting that is missing or cannot work.
    """
    match channel.auth:
        case Public():
            return PublicVerifier()
        case ApiKey():
            return ApiKeyVerifier(channel.name)
        case Jwt() as auth:
            # PyJWT and cryptography are loaded only where tokens are checked.
            from headgate.gate.tokens import jwt_verifier

            return jwt_verifier(auth, channel, settings, clock)
        case Signed() as auth:
            found = [resolved(secret, settings, f"Channel {channel.path}") for secret in auth.secrets]
            return SignedVerifier(auth, found, channel.path, channel.name, clock)
        case Iam() as auth:
            return IamVerifier(channel.name, auth.region, auth.service, clock)
        case verifier:
            return OwnVerifier(verifier, channel.name)


def new_api_key(channel: str, name: str, created_ms: int) -> tuple[str, ApiKeyRow]:
    """A new key for a channel: its text, which is to be shown once, and the row to keep."""
    id_, secret = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    key = f"hg_{id_}_{secret}"
    return key, ApiKeyRow(id_, channel, name, _digest(key.encode()), created_ms)


class PublicVerifier:
    """Lets everyone in, as nobody."""

    needs_body = False

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - looks at nothing
        yield from ()
        return ""


class ApiKeyVerifier:
    """Looks a key up by its id and compares digests. The principal is the id."""

    needs_body = False

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._bearer = Bearer(channel, "Send the API key in the header X-Api-Key, or as Authorization: Bearer KEY.")

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - not signed
        key = self._sent(request)
        parts = _KEY.fullmatch(key)
        row: ApiKeyRow | None = None
        if parts is not None:
            row = yield LookUpKey(parts[1].decode())
        # Compared in any case, so that time does not tell an unknown id from a wrong secret.
        fits = hmac.compare_digest(_digest(key), _NO_DIGEST if row is None else row.digest)
        if row is None or not fits:
            raise self._bearer.refused("api_key_unknown", "The API key is not valid.")
        if row.channel != self._channel:
            raise Forbidden(reason="api_key_channel")
        return row.id

    def _sent(self, request: Request) -> bytes:
        key = request.headers.get(b"x-api-key")
        if key is None:
            return self._bearer.token(request)
        if len(key) > limits.TOKEN.value:
            raise self._bearer.refused("token_too_long", "The key is too long.")
        return key


class OwnVerifier:
    """Asks the user's function. Whatever it does but return a principal or refuse is a fault on our side.

    An exception that is no refusal comes through as it is, so that the log can say where it was raised.
    """

    needs_body = False

    def __init__(self, verifier: Callable[[Request], str | Awaitable[str]], realm: str) -> None:
        self._verifier = verifier
        self._bearer = Bearer(realm)

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - it is not given the body
        try:
            principal = yield Call(self._verifier, request)
        except (Unauthorized, Forbidden) as refusal:
            Problem.of(refusal, request.id).reply().checked()
            if isinstance(refusal, Forbidden):
                raise
            if not any(name.lower() == "www-authenticate" for name, _ in refusal.headers):
                refusal.headers += self._bearer.missing().headers  # RFC 9110: no 401 without a challenge
            raise
        except Refusal as error:
            raise Broken from error
        if not is_principal(principal):
            raise Broken(reason="bad_principal")
        return principal


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
