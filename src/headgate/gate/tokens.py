"""JSON Web Tokens: signature first, by PyJWT; then the claims, against our own clock.

Of a token's header only `alg` and `kid` are used, and only to choose among keys that the channel's owner
configured: a key that a token brings or points at (`jwk`, `jku`, `x5c`, `x5u`) is never looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jiter import LosslessFloat
from jwt.algorithms import HMACAlgorithm

from headgate import limits
from headgate.clock import Clock
from headgate.declare.auth import Jwt, jwks_url_fault, jwt_algorithms
from headgate.declare.channel import Channel
from headgate.errors import Malformed, Misuse
from headgate.gate.credentials import Bearer, Verification, is_principal, resolved
from headgate.gate.effects import Effect, LookUpJwks
from headgate.http import Request
from headgate.message import load

VerifyingKey = bytes | RSAPublicKey | EllipticCurvePublicKey
JsonObject = dict[str, Any]

REMEMBERED = 10_000
"""How many verified tokens a channel remembers; the oldest is forgotten first."""
TRUSTED_S = 60
"""For how long a token is believed without looking up its published key again, which may be withdrawn."""

_TOKEN = re.compile(rb"([\w-]+)\.([\w-]+)\.[\w-]+")
_RSA_BITS = 2048
_LAST_SECOND = 253_402_300_799  # the end of the year 9999; no honest token says more, and 1e400 is infinite
_JWK_MEMBERS = {"RS256": ("n", "e"), "ES256": ("crv", "x", "y")}
_JWK_TYPES = {"RS256": "RSA", "ES256": "EC"}


class Verified(NamedTuple):
    """A token whose signature and claims are good, between two moments of the wall clock.

    `trusted_until_s` is a moment of `Clock.elapsed_s`: from then on its key has to be looked up again.
    """

    principal: str
    not_before_ms: float
    expires_ms: float
    trusted_until_s: float


class JwtVerifier:
    """Verifies the tokens of one channel; the principal is the claim `sub`.

    `key` is the key of the only algorithm, or the URL where the keys are published. A verified token is
    remembered; its times are checked at each use all the same.
    """

    needs_body = False

    def __init__(
        self,
        key: VerifyingKey | str,
        algorithms: tuple[str, ...],
        issuer: str,
        audience: str,
        auth: Jwt,
        realm: str,
        clock: Clock,
    ) -> None:
        self._key = key
        self._algorithms = algorithms
        self._signatures = jwt.PyJWS(algorithms=algorithms)
        self._issuer = issuer
        self._audience = audience
        self._scopes = auth.scopes
        self._leeway_ms = auth.leeway_s * 1000
        self._trusted_s = TRUSTED_S if isinstance(key, str) else float("inf")
        self._bearer = Bearer(realm)
        self._clock = clock
        self._remembered: dict[bytes, Verified] = {}

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - not signed
        sent = request.headers.get(b"authorization", b"")
        known = self._remembered.get(sent)
        if (
            known is not None
            and known.not_before_ms <= self._clock.now_ms() < known.expires_ms
            and self._clock.elapsed_s() < known.trusted_until_s
        ):
            return known.principal
        token = self._bearer.token(request)
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise self._refused("token_malformed", "The token is not a signed JSON Web Token.")
        algorithm, kid = self._header(parts[1])
        key = yield from self._key_for(algorithm, kid)
        self._check_signature(token, algorithm, key)
        verified = self._verified(self._object(parts[2]))
        self._remember(sent, verified)
        return verified.principal

    def _header(self, segment: bytes) -> tuple[str, str | None]:
        """The algorithm and the key id."""
        header = self._object(segment)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise self._refused("token_algorithm", "The token's algorithm is not one this channel takes.")
        if "crit" in header or "b64" in header or not (kid is None or isinstance(kid, str)):
            raise self._refused("token_malformed", "The token has a header that is not understood here.")
        return str(algorithm), kid

    def _key_for(self, algorithm: str, kid: str | None) -> Generator[Effect, Any, VerifyingKey]:
        if not isinstance(self._key, str):
            return self._key
        for missing in (False, True):
            published: Sequence[Mapping[str, Any]] = yield LookUpJwks(self._key, missing)
            keys = [key for jwk in published if (key := _fitting_key(jwk, algorithm, kid)) is not None]
            if len(keys) == 1:
                return keys[0]
            if keys:
                break
        raise self._refused("token_key", "The token is signed with a key that is not known here.")

    def _check_signature(self, token: bytes, algorithm: str, key: VerifyingKey) -> None:
        try:
            self._signatures.decode_complete(token, key, algorithms=[algorithm])
        except jwt.PyJWTError:
            raise self._refused("token_signature", "The token's signature is not good.") from None

    def _verified(self, claims: JsonObject) -> Verified:
        """Checks the claims. The signature is known to be good, so the sender may be told what is wrong."""
        if claims.get("iss") != self._issuer:
            raise self._claim("iss")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience not in audiences or not all(isinstance(name, str) for name in audiences):
            raise self._claim("aud")
        principal = claims.get("sub")
        if not is_principal(principal):
            raise self._claim("sub")
        expires_ms = self._moment_ms(claims, "exp") + self._leeway_ms
        starts_ms = [self._moment_ms(claims, name) for name in ("nbf", "iat") if name in claims]
        now_ms = self._clock.now_ms()
        if now_ms >= expires_ms:
            raise self._refused("token_expired", "The token has expired.")
        not_before_ms = max(starts_ms, default=0) - self._leeway_ms
        if now_ms < not_before_ms:
            raise self._refused("token_early", "The token is not valid yet.")
        if not set(self._scopes) <= _scopes(claims):
            raise self._bearer.too_little(self._scopes)
        return Verified(principal, not_before_ms, expires_ms, self._clock.elapsed_s() + self._trusted_s)

    def _moment_ms(self, claims: JsonObject, name: str) -> float:
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | LosslessFloat):
            raise self._claim(name)
        seconds = value if isinstance(value, int) else float(value)
        if not 0 <= seconds <= _LAST_SECOND:
            raise self._claim(name)
        return seconds * 1000

    def _object(self, segment: bytes) -> JsonObject:
        try:
            value = load(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))).tree
        except (binascii.Error, Malformed):
            value = None
        if not isinstance(value, dict):
            raise self._refused("token_malformed", "The token is not a signed JSON Web Token.")
        return value

    def _remember(self, sent: bytes, verified: Verified) -> None:
        self._remembered.pop(sent, None)
        if len(self._remembered) >= REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[sent] = verified

    def _claim(self, name: str) -> Exception:
        return self._refused("token_claims", f"The token's claim {name} is missing or not good here.")

    def _refused(self, reason: str, sentence: str) -> Exception:
        return self._bearer.refused(reason, sentence)


def jwt_verifier(auth: Jwt, channel: Channel, settings: Mapping[str, str], clock: Clock) -> JwtVerifier:
    """The verifier of a channel with Jwt auth. Raises Misuse for a setting that is missing or cannot work."""
    key, algorithms = _configured_key(auth, channel.path, settings)
    issuer, audience = (
        resolved(setting, settings, f"Channel {channel.path}") for setting in (auth.issuer, auth.audience)
    )
    return JwtVerifier(key, algorithms, issuer, audience, auth, channel.name, clock)


def _configured_key(auth: Jwt, channel: str, settings: Mapping[str, str]) -> tuple[VerifyingKey | str, tuple[str, ...]]:
    """The key, or the URL of the keys, and the algorithms that go with it."""
    allowed = jwt_algorithms(auth)
    if auth.secret is not None:
        return hs256_key(resolved(auth.secret, settings, f"Channel {channel}").encode(), channel), allowed
    if auth.public_key is not None:
        key, algorithm = _public_key(resolved(auth.public_key, settings, f"Channel {channel}"), channel)
        if algorithm not in allowed:
            raise Misuse(f"Channel {channel}: its public key is for {algorithm}, not {', '.join(allowed)}.")
        return key, (algorithm,)
    if auth.jwks_url is not None:
        url = resolved(auth.jwks_url, settings, f"Channel {channel}")
        if fault := jwks_url_fault(url):
            raise Misuse(f"Channel {channel}: {fault}")
        return url, allowed
    raise Misuse(f"Channel {channel}: Jwt needs exactly one of secret, public_key and jwks_url.")


def hs256_key(secret: bytes, channel: str) -> bytes:
    """The secret, as tokens are signed and checked with it. Raises Misuse for one that anybody could guess."""
    least = limits.HS256_SECRET.value
    if len(secret) < least:
        raise Misuse(f"Channel {channel}: its HS256 secret is shorter than {least} bytes; make a longer one.")
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except jwt.InvalidKeyError:
        raise Misuse(
            f"Channel {channel}: its HS256 secret is a key file; use public_key=, or a random secret."
        ) from None


def _public_key(pem: str, channel: str) -> tuple[VerifyingKey, str]:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise Misuse(f"Channel {channel}: its public_key is not a public key in PEM text.") from None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    if not isinstance(key, RSAPublicKey):
        raise Misuse(f"Channel {channel}: its public_key must be an RSA key, or an EC key on P-256.")
    if key.key_size < _RSA_BITS:
        raise Misuse(f"Channel {channel}: its RSA key has {key.key_size} bits; {_RSA_BITS} are the least.")
    return key, "RS256"


def _fitting_key(jwk: Mapping[str, Any], algorithm: str, kid: str | None) -> VerifyingKey | None:
    """The key, where it may verify this algorithm and has this id.

    A private key that was published may not: anybody can sign with it.
    """
    members = {name: jwk.get(name) for name in _JWK_MEMBERS[algorithm]}
    if (
        jwk.get("kty") != _JWK_TYPES[algorithm]
        or (kid is not None and jwk.get("kid") != kid)
        or jwk.get("use", "sig") != "sig"
        or jwk.get("alg", algorithm) != algorithm
        or not _may_verify(jwk.get("key_ops"))
        or "d" in jwk
        or not all(isinstance(value, str) for value in members.values())
    ):
        return None
    try:
        key: VerifyingKey = jwt.PyJWK({"kty": jwk["kty"], **members}, algorithm).key
    except (jwt.PyJWTError, ValueError, UnsupportedAlgorithm):
        return None
    too_small = isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS
    wrong_curve = isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1)
    return None if too_small or wrong_curve else key


def _may_verify(key_ops: object) -> bool:
    return key_ops is None or (isinstance(key_ops, list) and "verify" in key_ops)


def _scopes(claims: JsonObject) -> set[str]:
    granted: set[str] = set()
    for claim in (claims.get("scope"), claims.get("scp")):
        words = claim.split(" ") if isinstance(claim, str) else claim
        if isinstance(words, list):
            granted.update(word for word in words if isinstance(word, str))
    return granted
