"""Tokens that must not open a channel, each a known attack or mistake; and tokens that must."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from headgate.clock import ManualClock
from headgate.declare.auth import Jwt
from headgate.declare.channel import Channel
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.tokens import JwtVerifier
from headgate.gate.verify import verifier_for
from tests.gate.driver import bearing, challenge, principal, refusal
from tests.issuer import ec_key, jwk, pem, public_pem, rsa_key, segment, sign

SECRET = "a secret that is longer than 32 bytes"
NOW_S = 1_767_225_600
HS256 = {"alg": "HS256", "typ": "JWT"}
RS256 = {"alg": "RS256", "typ": "JWT"}
GOOD: dict[str, Any] = {"sub": "alice", "iss": "shop", "aud": "orders", "exp": NOW_S + 60}


def verifier(clock: ManualClock | None = None, **options: Any) -> ChannelVerifier:
    auth = Jwt(issuer="shop", audience="orders", **(options or {"secret": SECRET}))
    return verifier_for(Channel("/orders", auth=auth), {}, clock or ManualClock())


def hs256(payload: bytes | object, header: bytes | object = HS256) -> bytes:
    return sign(header, payload, SECRET.encode(), "HS256")


def with_claims(**claims: Any) -> bytes:
    return hs256(GOOD | claims)


def without(claim: str) -> bytes:
    return hs256({name: value for name, value in GOOD.items() if name != claim})


def spelled(claim: str, json_text: str) -> bytes:
    """A token in which a claim stands in JSON that Python would not write."""
    rest = json.dumps({name: value for name, value in GOOD.items() if name != claim})
    return hs256(f'{{"{claim}": {json_text}, {rest[1:]}'.encode())


def unsigned(algorithm: object, signature: bytes = b"") -> bytes:
    return segment({"alg": algorithm}) + b"." + segment(GOOD) + b"." + signature


def by_stranger(**header: Any) -> bytes:
    """Signed with a key of the attacker's own, with a header that should make us use it."""
    return sign(RS256 | header, GOOD, rsa_key("stranger"), "RS256")


def hs256_with_public_key(spelling: bytes) -> bytes:
    """The oldest attack: the public key, which everybody has, taken for a secret. PyJWT would not sign so."""
    signed = segment(HS256) + b"." + segment(GOOD)
    return signed + b"." + segment(hmac.digest(spelling, signed, "sha256"))


CLAIMS = {
    "no exp": without("exp"),
    "no iss": without("iss"),
    "no aud": without("aud"),
    "no sub": without("sub"),
    "no claims": hs256({}),
    "wrong iss": with_claims(iss="shop2"),
    "iss of another case": with_claims(iss="Shop"),
    "iss as a list": with_claims(iss=["shop"]),
    "wrong aud": with_claims(aud="order"),
    "aud that holds ours as a part": with_claims(aud="orders2 orders"),
    "list of wrong auds": with_claims(aud=["order", "others"]),
    "empty list of auds": with_claims(aud=[]),
    "aud as an object": with_claims(aud={"orders": True}),
    "aud in a nested list": with_claims(aud=[["orders"]]),
    "aud beside what is no text": with_claims(aud=["orders", 1]),
    "aud null": with_claims(aud=None),
    "exp as text": with_claims(exp=str(NOW_S + 60)),
    "exp true": with_claims(exp=True),
    "exp null": with_claims(exp=None),
    "exp as a list": with_claims(exp=[NOW_S + 60]),
    "exp below zero": with_claims(exp=-1),
    "exp after the year 9999": with_claims(exp=10**12),
    "exp of 400 digits": with_claims(exp=10**400),
    "exp infinite by size": spelled("exp", "1e400"),
    "nbf as text": with_claims(nbf=str(NOW_S)),
    "nbf true": with_claims(nbf=True),
    "nbf null": with_claims(nbf=None),
    "iat as text": with_claims(iat="yesterday"),
    "iat infinite by size": spelled("iat", "1e999"),
    "sub empty": with_claims(sub=""),
    "sub as a number": with_claims(sub=7),
    "sub null": with_claims(sub=None),
    "sub as a list": with_claims(sub=["alice"]),
    "sub of 256 bytes": with_claims(sub="a" * 256),
    "sub of 256 bytes in fewer letters": with_claims(sub="é" * 128),
    "sub with a line break": with_claims(sub="alice\nbob"),
    "sub with NUL": with_claims(sub="alice\0"),
    "sub with DEL": with_claims(sub="alice\x7f"),
    "sub with a C1 control": with_claims(sub="alice\x85"),
    "sub with a lone surrogate": spelled("sub", '"alice\\ud800"'),
    "sub all lone surrogate": spelled("sub", '"\\udfff"'),
}
TIMES = {
    "expired": with_claims(exp=NOW_S - 1),
    "expiring now": with_claims(exp=NOW_S),
    "expired at the epoch": with_claims(exp=0),
    "nbf ahead": with_claims(nbf=NOW_S + 1),
    "iat ahead": with_claims(iat=NOW_S + 1),
}
SHAPES = {
    "nothing": b"",
    "a word": b"token",
    "two segments": hs256(GOOD).rpartition(b".")[0],
    "four segments": hs256(GOOD) + b".AAAA",
    "five segments, as if encrypted": hs256(GOOD) + b".AAAA.AAAA",
    "dots": b"..",
    "leading dot": b"." + hs256(GOOD),
    "inner space": hs256(GOOD).replace(b".", b" .", 1),
    "line break": hs256(GOOD).replace(b".", b".\n", 1),
    "line break at the end": hs256(GOOD) + b"\n",
    "space at the end": hs256(GOOD) + b" ",
    "tab in front": b"\t" + hs256(GOOD),
    "quoted": b'"' + hs256(GOOD) + b'"',
    "padded": hs256(GOOD) + b"=",
    "ordinary base64": hs256(GOOD).replace(b".", b"+.", 1),
    "letters beyond ASCII": hs256(GOOD) + "é".encode(),
    "digits beyond ASCII": hs256(GOOD) + "٣".encode(),
    "no UTF-8": hs256(GOOD) + b"\xff",
    "NUL": hs256(GOOD) + b"\0",
    "1 MB of letters": b"a" * 1_000_000,
    "1 MB with a good signature": with_claims(pad="a" * 1_000_000),
    "1 MB of dots": b"." * 1_000_000,
    "1 MB of spaces": b" " * 1_000_000,
    "a byte longer than the limit": with_claims(pad="a" * 8_192),
    "header no base64": b"a" + hs256(GOOD),
    "header no UTF-8": hs256(GOOD, b'{"alg":"HS256","\xff":1}'),
    "header in UTF-16": hs256(GOOD, json.dumps(HS256).encode("utf-16")),
    "header no JSON": hs256(GOOD, b"{alg:HS256}"),
    "header a list": hs256(GOOD, ["HS256"]),
    "header a text": hs256(GOOD, "HS256"),
    "header null": hs256(GOOD, None),
    "header a deep list": hs256(GOOD, b"[" * 5_000),
    "header a deep object": hs256(GOOD, b'{"a":' * 1_000),
    "header with a number of 5000 digits": hs256(GOOD, b'{"alg":"HS256","n":' + b"1" * 5_000 + b"}"),
    "alg twice": hs256(GOOD, b'{"alg":"none","alg":"HS256"}'),
    "kid twice": hs256(GOOD, b'{"alg":"HS256","kid":"a","kid":"b"}'),
    "payload no JSON": hs256(b"{'sub': 'alice'}"),
    "payload no UTF-8": hs256(b'{"sub": "\xff"}'),
    "payload empty text": hs256(b" "),
    "payload a list": hs256([GOOD]),
    "payload a text": hs256("alice"),
    "payload a number": hs256(7),
    "payload null": hs256(None),
    "payload followed by more": hs256(json.dumps(GOOD).encode() + b"{}"),
    "payload a deep list": hs256(b"[" * 5_000),
    "payload a deep claim": spelled("deep", "[" * 2_000 + "]" * 2_000),
    "kid a lone surrogate": hs256(GOOD, HS256 | {"kid": "\ud800"}),
    "payload with a number of 5000 digits": spelled("exp", "1" * 5_000),
    "exp NaN": spelled("exp", "NaN"),
    "exp Infinity": spelled("exp", "Infinity"),
    "sub twice": hs256(json.dumps(GOOD)[:-1].encode() + b', "sub": "root"}'),
    "crit": hs256(GOOD, HS256 | {"crit": ["exp"], "exp": 1}),
    "crit that PyJWT knows": hs256(GOOD, HS256 | {"crit": ["b64"], "b64": True}),
    "crit empty": hs256(GOOD, HS256 | {"crit": []}),
    "crit null": hs256(GOOD, HS256 | {"crit": None}),
    "payload not in base64": hs256(GOOD, HS256 | {"crit": ["b64"], "b64": False}),
    "payload not in base64, not declared": hs256(GOOD, HS256 | {"b64": False}),
    "kid a number": hs256(GOOD, HS256 | {"kid": 1}),
    "kid a list": hs256(GOOD, HS256 | {"kid": ["a"]}),
    "kid an object": hs256(GOOD, HS256 | {"kid": {"a": 1}}),
}
NO_ALGORITHMS: list[object] = [
    "none", "None", "NONE", "nOnE", "none ", "", "null", None, 0, False, [], {}, ["HS256"],
]  # fmt: skip
UNSIGNED = {
    f"alg {algorithm!r}{' with a signature' * bool(signature)}": unsigned(algorithm, signature)
    for algorithm in NO_ALGORITHMS
    for signature in (b"", b"AAAA")
}
ALGORITHMS = {
    "alg missing": hs256(GOOD, {"typ": "JWT"}),
    "HS384": sign({"alg": "HS384"}, GOOD, SECRET.encode(), "HS384"),
    "HS512": sign({"alg": "HS512"}, GOOD, SECRET.encode(), "HS512"),
    "hs256 in small letters": hs256(GOOD, {"alg": "hs256"}),
    "HS256 with a space": hs256(GOOD, {"alg": "HS256 "}),
    "RS256 to a channel of HS256": sign(RS256, GOOD, rsa_key(), "RS256"),
    "Alg for alg": hs256(GOOD, {"Alg": "HS256"}),
}
SIGNATURES = {
    "another secret": sign(HS256, GOOD, b"x" * 40, "HS256"),
    "truncated": hs256(GOOD)[:-4],
    "empty signature": hs256(GOOD).rpartition(b".")[0] + b".",
    "claims of another token": b".".join(
        [segment(HS256), segment(GOOD | {"sub": "root"}), hs256(GOOD).rpartition(b".")[2]]
    ),
    "header of another token": b".".join([segment({"alg": "HS256"}), *hs256(GOOD).split(b".")[1:]]),
    "detached payload": b"..".join([segment(HS256), hs256(GOOD).rpartition(b".")[2]]),
    "last letter changed in bits that do not count": hs256(GOOD)[:-1] + bytes([hs256(GOOD)[-1] + 1]),
}
KEYS = {
    "HS256 with the public key's PEM": hs256_with_public_key(pem(rsa_key()).encode()),
    "HS256 with the public key's PEM, trimmed": hs256_with_public_key(pem(rsa_key()).strip().encode()),
    "a stranger's key": by_stranger(),
    "jwk": by_stranger(jwk=jwk(rsa_key("stranger"))),
    "jku": by_stranger(jku="http://127.0.0.1:9/jwks.json"),
    "x5u": by_stranger(x5u="http://127.0.0.1:9/cert.pem"),
    "x5c": by_stranger(x5c=["MIIB"]),
    "kid a path": by_stranger(kid="../../../../dev/null"),
    "kid a query": by_stranger(kid="x' UNION SELECT 'key"),
    "kid a command": by_stranger(kid="key|id"),
    "kid a URL": by_stranger(kid="http://127.0.0.1:9/key"),
    "kid with NUL": by_stranger(kid="a\0b"),
    "RS384": sign({"alg": "RS384"}, GOOD, rsa_key(), "RS384"),
    "PS256": sign({"alg": "PS256"}, GOOD, rsa_key(), "PS256"),
    "ES256 to a key of RSA": sign({"alg": "ES256"}, GOOD, ec_key(), "ES256"),
    "ES256 of zeros": segment({"alg": "ES256"}) + b"." + segment(GOOD) + b"." + segment(bytes(64)),
}


LET_IN = {
    "plain": hs256(GOOD),
    "no typ": hs256(GOOD, {"alg": "HS256"}),
    "headers that are not for us": hs256(GOOD, HS256 | {"typ": "at+jwt", "kid": "any", "jku": "x", "x5c": ["x"]}),
    "list of auds": with_claims(aud=["others", "orders"]),
    "exp in a moment": with_claims(exp=NOW_S + 0.5),
    "exp at the end of the year 9999": with_claims(exp=253_402_300_799),
    "exp with an exponent": spelled("exp", f"{NOW_S + 60}.0e0"),
    "valid from now on": with_claims(nbf=NOW_S, iat=NOW_S),
    "further claims": with_claims(nbf=0, iat=NOW_S - 0.001, jti="1", more={"any": ["thing", None, 2.5]}),
}


def assert_refused(who: ChannelVerifier, token: bytes, *reasons: str) -> None:
    refused = refusal(who, bearing(token))
    assert refused.status == 401
    assert refused.reason in reasons
    assert challenge(refused) == 'Bearer realm="orders", error="invalid_token"'


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_do_not_fit_are_refused(name: str) -> None:
    assert_refused(verifier(), CLAIMS[name], "token_claims", "token_malformed")


@pytest.mark.parametrize("name", TIMES)
def test_a_token_out_of_its_time_is_refused(name: str) -> None:
    assert_refused(verifier(), TIMES[name], "token_expired", "token_early")


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_of_the_wrong_shape_is_refused(name: str) -> None:
    assert_refused(verifier(), SHAPES[name], "token_malformed", "token_too_long")


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_token_without_signature_is_refused(name: str) -> None:
    assert_refused(verifier(), UNSIGNED[name], "token_malformed", "token_algorithm")
    assert_refused(verifier(public_key=pem(rsa_key())), UNSIGNED[name], "token_malformed", "token_algorithm")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_that_was_not_declared_is_refused(name: str) -> None:
    assert_refused(verifier(), ALGORITHMS[name], "token_algorithm")


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_that_does_not_fit_is_refused(name: str) -> None:
    assert_refused(verifier(), SIGNATURES[name], "token_signature", "token_malformed")


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_the_sender_chose_is_refused(name: str) -> None:
    assert_refused(verifier(public_key=pem(rsa_key())), KEYS[name], "token_signature", "token_algorithm")


def test_refused_tokens_are_refused_again() -> None:
    who = verifier()
    for token in (*CLAIMS.values(), *SIGNATURES.values()):
        first, second = refusal(who, bearing(token)), refusal(who, bearing(token))
        assert (first.reason, first.detail) == (second.reason, second.detail)


def test_a_refusal_never_quotes_the_token() -> None:
    for token in (
        with_claims(iss="quoted-issuer"),
        with_claims(sub="quoted\n"),
        by_stranger(kid="quoted-kid"),
    ):
        refused = refusal(verifier(), bearing(token))
        assert "quoted" not in refused.detail + repr(refused.headers)
        assert "shop" not in refused.detail


@pytest.mark.parametrize("name", LET_IN)
def test_a_good_token_opens_the_channel(name: str) -> None:
    assert principal(verifier(), bearing(LET_IN[name])) == "alice"


@pytest.mark.parametrize("sub", ["a", "a" * 255, "é" * 127, "名前", "🙂", "a b", "auth0|5f7c8ec7c33c6c004bbafe82"])
def test_any_text_fit_for_a_principal_is_one(sub: str) -> None:
    assert principal(verifier(), bearing(with_claims(sub=sub))) == sub


def test_a_surrogate_pair_is_a_character() -> None:
    assert principal(verifier(), bearing(spelled("sub", '"\\ud83d\\ude42"'))) == "🙂"


@pytest.mark.parametrize(("key", "algorithm"), [(rsa_key(), "RS256"), (ec_key(), "ES256")], ids=["RSA", "EC"])
def test_each_kind_of_key_opens_with_its_own_algorithm_alone(key: Any, algorithm: str) -> None:
    who = verifier(public_key=pem(key))
    assert principal(who, bearing(sign({"alg": algorithm}, GOOD, key, algorithm))) == "alice"
    relabelled = sign({"alg": "RS256" if algorithm == "ES256" else "ES256"}, GOOD, key, algorithm)
    assert_refused(who, relabelled, "token_algorithm")


def test_a_token_that_pyjwt_makes_opens_the_channel() -> None:
    assert principal(verifier(), bearing(jwt.encode(GOOD, SECRET, "HS256"))) == "alice"


def vectors(cases: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((cases / "jwt_rfc_vectors.json").read_text())
    return found


def vector_verifier(vector: dict[str, Any]) -> ChannelVerifier:
    """A channel that knows the vector's key. Its claims are in no vector."""
    if vector["alg"] != "HS256":
        public = {name: value for name, value in vector["key"].items() if name in ("kty", "n", "e", "crv", "x", "y")}
        return verifier(public_key=public_pem(jwt.PyJWK(public, vector["alg"]).key))
    # RFC 7515's secret is no text, as a setting is; so it goes in behind the settings.
    secret = base64.urlsafe_b64decode(vector["key"]["k"] + "==")
    auth = Jwt(issuer="shop", audience="orders", secret="unused")
    return JwtVerifier(secret, ("HS256",), "shop", "orders", auth, "orders", ManualClock())


def test_the_signatures_of_the_rfcs_are_good_and_broken_ones_are_not(cases: Path) -> None:
    seen = []
    for vector in vectors(cases):
        if vector.get("alg") not in ("HS256", "RS256", "ES256"):
            continue
        who, token = vector_verifier(vector), vector["token"].encode()
        # The signature is good, so it is the claims that are found wanting: they are for nobody here.
        assert_refused(who, token, "token_claims")
        head, payload, signature = token.split(b".")
        assert_refused(
            who, b".".join([head, payload, signature[:-10] + b"A" * 10]), "token_signature", "token_malformed"
        )
        assert_refused(who, b".".join([head, segment(GOOD), signature]), "token_signature")
        seen.append(vector["alg"])
    assert seen == ["HS256", "RS256", "ES256"]


def test_the_rfcs_vectors_of_other_algorithms_open_nothing(cases: Path) -> None:
    seen = 0
    for vector in vectors(cases):
        if vector.get("alg") in ("HS256", "RS256", "ES256"):
            continue
        for who in (verifier(), verifier(public_key=pem(rsa_key())), verifier(public_key=pem(ec_key()))):
            assert_refused(who, vector["token"].encode(), "token_algorithm", "token_malformed")
        seen += 1
    assert seen == 4
