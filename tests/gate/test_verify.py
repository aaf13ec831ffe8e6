"""Who is let in, as whom, and what a sender is told who is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from headgate.clock import ManualClock
from headgate.declare.auth import ApiKey, Auth, Jwt, Public
from headgate.declare.channel import Channel
from headgate.declare.settings import Env, Secret
from headgate.errors import Broken, Forbidden, Misuse, NotFound, Unauthorized, Unavailable
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.tokens import REMEMBERED, JwtVerifier
from headgate.gate.verify import new_api_key, verifier_for
from headgate.http import Request
from headgate.local.keys import LocalKeys
from tests.gate.driver import bearing, challenge, principal, refusal, request
from tests.issuer import Issuer, ec_key, issuing, jwk, pem, rsa_key, sign

SECRET = "a secret that is longer than 32 bytes"
NOW_S = 1_767_225_600


def verifier(auth: Auth, clock: ManualClock | None = None, **settings: str) -> ChannelVerifier:
    return verifier_for(Channel("/orders", auth=auth), settings, clock or ManualClock())


def of_secret(clock: ManualClock | None = None, **options: Any) -> ChannelVerifier:
    return verifier(Jwt(issuer="shop", audience="orders", secret=SECRET, **options), clock)


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "alice", "iss": "shop", "aud": "orders", "exp": NOW_S + 60} | more


def token(**more: Any) -> bytes:
    return sign({"alg": "HS256"}, claims(**more), SECRET.encode(), "HS256")


def keys_in_memory(*rows: Any, clock: ManualClock | None = None) -> LocalKeys:
    return LocalKeys(rows, lambda _: None, clock or ManualClock())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def test_a_public_channel_lets_everyone_in_as_nobody() -> None:
    who = verifier(Public())
    assert not who.needs_body
    assert principal(who, request()) == ""
    assert principal(who, bearing("anything")) == ""


class TestApiKeys:
    """Keys made by `headgate keys create`."""

    def test_a_key_is_let_in_as_its_id_by_either_header(self) -> None:
        key, row = new_api_key("orders", "till", 5)
        keys = keys_in_memory(row)
        who = verifier(ApiKey())
        assert not who.needs_body
        assert principal(who, bearing(key), keys=keys) == row.id
        assert principal(who, request(x_api_key=key), keys=keys) == row.id
        assert principal(who, request(authorization=f"bEARER {key}"), keys=keys) == row.id
        behind_proxy = request(authorization="Basic YTpi", x_api_key=key)
        assert principal(who, behind_proxy, keys=keys) == row.id

    def test_a_key_is_random_and_the_row_does_not_hold_it(self) -> None:
        made = [new_api_key("orders", "till", 5) for _ in range(200)]
        assert len({key for key, _ in made}) == len({row.id for _, row in made}) == 200
        for key, row in made:
            prefix, id_, secret = key.split("_")
            assert (prefix, id_, row.channel, row.name, row.created_ms) == ("hg", row.id, "orders", "till", 5)
            assert len(id_) == 12
            assert re.fullmatch("[0-9A-Za-z]{32}", secret)  # 62 ** 32 > 2 ** 190
            assert secret not in repr(row)

    def test_an_unknown_id_and_a_wrong_secret_are_told_the_same(self) -> None:
        key, row = new_api_key("orders", "till", 5)
        stranger, _ = new_api_key("orders", "till", 5)
        wrong = f"hg_{row.id}_{stranger[-32:]}"
        told = set()
        for sent in (
            stranger,
            wrong,
            key[:-1],
            key + "a",
            key.upper(),
            f"hg_{row.id}_",
            "hg__",
            "hg",
            "é",
            "",
            " ",
        ):
            refused = refusal(verifier(ApiKey()), request(x_api_key=sent), keys=keys_in_memory(row))
            told.add((refused.status, refused.reason, refused.detail, refused.headers))
        assert len(told) == 1
        ((status, reason, _, headers),) = told
        assert (status, reason) == (401, "api_key_unknown")
        assert headers == (("WWW-Authenticate", 'Bearer realm="orders", error="invalid_token"'),)

    def test_a_key_of_another_channel_is_forbidden_but_only_with_its_secret(self) -> None:
        key, row = new_api_key("events", "till", 5)
        keys = keys_in_memory(row)
        refused = refusal(verifier(ApiKey()), request(x_api_key=key), keys=keys)
        assert (refused.status, refused.reason) == (403, "api_key_channel")
        guessed = key[:-1] + ("a" if key[-1] != "a" else "b")
        assert refusal(verifier(ApiKey()), request(x_api_key=guessed), keys=keys).status == 401

    def test_a_removed_key_opens_nothing_more(self) -> None:
        key, row = new_api_key("orders", "till", 5)
        keys, who = keys_in_memory(row), verifier(ApiKey())
        assert principal(who, bearing(key), keys=keys) == row.id
        keys.remove_api_key(row.id)
        assert refusal(who, bearing(key), keys=keys).status == 401

    def test_a_key_far_too_long_is_refused_unread(self) -> None:
        for sent in (request(x_api_key="k" * 1_000_000), bearing("k" * 1_000_000)):
            assert refusal(verifier(ApiKey()), sent).reason == "token_too_long"


class TestChallenges:
    """RFC 6750: what a 401 and a 403 say in their headers."""

    @pytest.mark.parametrize("header", [None, b"", b"Basic YTpi", b"Digest x", b"Bearer2 x", b"bear", b"\xff\xfe"])
    @pytest.mark.parametrize("auth", [ApiKey(), Jwt(issuer="shop", audience="orders", secret=SECRET)])
    def test_where_nothing_was_sent_no_error_is_named(self, header: bytes | None, auth: Auth) -> None:
        sent = request() if header is None else request(authorization=header)
        refused = refusal(verifier(auth), sent)
        assert (refused.status, refused.reason) == (401, "no_credentials")
        assert challenge(refused) == 'Bearer realm="orders"'
        assert ("X-Api-Key" in refused.detail) == isinstance(auth, ApiKey)

    @pytest.mark.parametrize("header", [b"Bearer", b"Bearer ", b"Bearer  ", b"bearer a b", b"Bearer \xff", b"BEARER ,"])
    @pytest.mark.parametrize("auth", [ApiKey(), Jwt(issuer="shop", audience="orders", secret=SECRET)])
    def test_where_something_bad_was_sent_the_token_is_invalid(self, header: bytes, auth: Auth) -> None:
        refused = refusal(verifier(auth), request(authorization=header), keys=keys_in_memory())
        assert refused.status == 401
        assert challenge(refused) == 'Bearer realm="orders", error="invalid_token"'

    @pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "BeArEr   "])
    def test_the_scheme_is_known_in_any_case(self, scheme: str) -> None:
        assert principal(of_secret(), request(authorization=scheme.encode() + token())) == "alice"

    @pytest.mark.parametrize(
        "granted",
        [{}, {"scope": "write"}, {"scope": "orders:reader"}, {"scp": 7}, {"scope": ["x"]}, {"scope": ""}],
    )
    def test_a_token_that_lacks_a_scope_is_forbidden(self, granted: dict[str, Any]) -> None:
        refused = refusal(of_secret(scopes=("orders:read", "write")), bearing(token(**granted)))
        assert (refused.status, refused.reason) == (403, "insufficient_scope")
        assert challenge(refused) == 'Bearer realm="orders", error="insufficient_scope", scope="orders:read write"'

    @pytest.mark.parametrize(
        "granted",
        [
            {"scope": "write orders:read more"},
            {"scp": ["orders:read", "write"]},
            {"scp": "orders:read write"},
            {"scope": "write", "scp": ["orders:read", 7]},
        ],
    )
    def test_a_token_with_every_scope_is_let_in(self, granted: dict[str, Any]) -> None:
        assert principal(of_secret(scopes=("orders:read", "write")), bearing(token(**granted))) == "alice"


class TestTimesOfTokens:
    """Only our clock counts, to the millisecond, for new and for remembered tokens alike."""

    @pytest.mark.parametrize("leeway_s", [0, 60])
    def test_exp_is_the_first_moment_that_is_too_late(self, leeway_s: int) -> None:
        clock = ManualClock(NOW_S * 1000)
        seen, sent = of_secret(clock, leeway_s=leeway_s), bearing(token(exp=NOW_S + 10))
        clock.advance(10 + leeway_s - 0.001)
        assert principal(seen, sent) == "alice"
        clock.advance(0.001)
        for who in (seen, of_secret(clock, leeway_s=leeway_s)):
            assert refusal(who, sent).reason == "token_expired"

    @pytest.mark.parametrize("leeway_s", [0, 60])
    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    def test_nbf_and_iat_are_the_first_moment_that_is_not_too_early(self, claim: str, leeway_s: int) -> None:
        clock = ManualClock((NOW_S - leeway_s) * 1000)
        seen, sent = of_secret(clock, leeway_s=leeway_s), bearing(token(**{claim: NOW_S}))
        assert principal(seen, sent) == "alice"
        clock.jump(-0.001)
        for who in (seen, of_secret(clock, leeway_s=leeway_s)):
            assert refusal(who, sent).reason == "token_early"

    def test_the_machines_own_clock_does_not_count(self) -> None:
        long_ago = ManualClock(1_000_000)
        assert principal(of_secret(long_ago), bearing(token(exp=1_001))) == "alice"


class TestRememberedTokens:
    """A verified token is not verified again, and yet never outlives its right."""

    def test_a_remembered_token_opens_only_the_channel_that_verified_it(self) -> None:
        sent = bearing(token())
        assert principal(of_secret(), sent) == "alice"
        other = verifier(Jwt(issuer="shop", audience="events", secret=SECRET))
        assert refusal(other, sent).reason == "token_claims"

    def test_a_remembered_token_is_another_when_one_letter_differs(self) -> None:
        who, good = of_secret(), token()
        assert principal(who, bearing(good)) == "alice"
        assert refusal(who, bearing(good[:-2] + b"AA")).status == 401

    def test_no_more_than_ten_thousand_are_remembered(self) -> None:
        who = cast("JwtVerifier", of_secret())
        for number in range(REMEMBERED + 50):
            assert principal(who, bearing(token(sub=f"sender {number}"))) == f"sender {number}"
        assert len(who._remembered) == REMEMBERED == 10_000
        assert principal(who, bearing(token(sub="sender 0"))) == "sender 0"


class TestPublishedKeys:
    """Keys at a jwks_url, from a real server."""

    def of(self, issuer: Issuer, clock: ManualClock, **options: Any) -> ChannelVerifier:
        return verifier(Jwt(issuer="shop", audience="orders", jwks_url=issuer.url, **options), clock)

    def signed(self, key: Any, header: dict[str, Any] | None = None, algorithm: str = "RS256", **more: Any) -> Request:
        return bearing(sign({"alg": algorithm} | (header or {}), claims(exp=NOW_S + 86_400, **more), key, algorithm))

    def test_keys_rotate_with_one_fetch_for_the_new_one(self, issuer: Issuer) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key(), kid="1")]
        for number in range(5):
            assert principal(who, self.signed(rsa_key(), {"kid": "1"}, jti=number), keys=keys) == "alice"
        assert issuer.asked == 1
        issuer.keys = [jwk(rsa_key(), kid="1"), jwk(ec_key(), kid="2")]
        for number in range(5):
            sent = self.signed(ec_key(), {"kid": "2"}, "ES256", jti=number)
            assert principal(who, sent, keys=keys) == "alice"
        assert issuer.asked == 2

    def test_unknown_key_ids_do_not_make_us_fetch_again_and_again(self, issuer: Issuer) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key(), kid="1")]
        for number in range(20):
            sent = self.signed(rsa_key("stranger"), {"kid": f"../{number}"})
            assert refusal(who, sent, keys=keys).reason == "token_key"
        assert issuer.asked == 2
        assert principal(who, self.signed(rsa_key(), {"kid": "1"}), keys=keys) == "alice"

    def test_a_withdrawn_key_is_believed_for_a_minute_after_it_is_known_to_be_gone(self, issuer: Issuer) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key(), kid="1")]
        sent = self.signed(rsa_key(), {"kid": "1"})
        assert principal(who, sent, keys=keys) == "alice"
        issuer.keys = [jwk(rsa_key("second"), kid="2")]
        keys.jwks(issuer.url, missing=True)
        clock.advance(59.9)
        assert principal(who, sent, keys=keys) == "alice"
        clock.advance(0.1)
        assert refusal(who, sent, keys=keys).reason == "token_key"

    def test_while_the_issuer_is_down_tokens_of_known_keys_are_good(self, issuer: Issuer) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key(), kid="1")]
        principal(who, self.signed(rsa_key(), {"kid": "1"}), keys=keys)
        issuer.status = 500
        clock.advance(3_600)
        assert principal(who, self.signed(rsa_key(), {"kid": "1"}, jti="later"), keys=keys) == "alice"

    def test_an_issuer_that_was_never_up_is_our_fault_not_the_senders(self, issuer: Issuer) -> None:
        clock = ManualClock()
        issuer.status = 500
        with pytest.raises(Unavailable):
            principal(self.of(issuer, clock), self.signed(rsa_key()), keys=keys_in_memory(clock=clock))

    def test_a_token_without_key_id_is_good_where_only_one_key_fits(self, issuer: Issuer) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key(), kid="1"), jwk(ec_key(), kid="2"), jwk(rsa_key("second"), use="enc")]
        assert principal(who, self.signed(rsa_key()), keys=keys) == "alice"
        assert principal(who, self.signed(ec_key(), {}, "ES256"), keys=keys) == "alice"
        issuer.keys = [jwk(rsa_key(), kid="1"), jwk(rsa_key("second"), kid="2")]
        clock.advance(600)
        assert refusal(who, self.signed(rsa_key()), keys=keys).reason == "token_key"
        assert issuer.asked == 2

    @pytest.mark.parametrize(
        "unfit",
        [
            {"use": "enc"},
            {"use": None},
            {"alg": "RS512"},
            {"alg": "PS256"},
            {"alg": "HS256"},
            {"key_ops": ["sign"]},
            {"key_ops": "verify"},
            {"key_ops": 7},
            {"kty": "EC"},
            {"kty": "oct", "k": "AAAA"},
            {"kty": None},
            {"kty": ["RSA"]},
            {"kid": 1},
            {"kid": ["1"]},
            {"n": None},
            {"n": 7},
            {"n": ""},
            {"n": "!"},
            {"n": "é"},
            {"n": "AQAB"},
            {"e": ""},
            {"e": "AA"},
            {"e": "AQ"},
            {"d": "AQAB"},
        ],
        ids=repr,
    )
    def test_a_published_key_that_does_not_fit_is_passed_over(self, issuer: Issuer, unfit: dict[str, Any]) -> None:
        clock = ManualClock()
        keys, who = keys_in_memory(clock=clock), self.of(issuer, clock)
        issuer.keys = [jwk(rsa_key("second"), kid="2"), jwk(rsa_key(), kid="1") | unfit]
        assert refusal(who, self.signed(rsa_key(), {"kid": "1"}), keys=keys).reason == "token_key"
        assert principal(who, self.signed(rsa_key("second"), {"kid": "2"}), keys=keys) == "alice"

    def test_a_published_key_that_is_too_small_is_passed_over(self, issuer: Issuer) -> None:
        clock = ManualClock()
        issuer.keys = [jwk(rsa_key("small", 1024))]
        sent = self.signed(rsa_key("small", 1024))
        assert refusal(self.of(issuer, clock), sent, keys=keys_in_memory(clock=clock)).reason == "token_key"

    def test_a_published_secret_opens_nothing(self, issuer: Issuer) -> None:
        clock = ManualClock()
        issuer.keys = [{"kty": "oct", "k": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE", "kid": "1", "alg": "HS256"}]
        sent = self.signed(b"A" * 32, {"kid": "1"}, "HS256")
        assert refusal(self.of(issuer, clock), sent, keys=keys_in_memory(clock=clock)).reason == "token_algorithm"

    def test_only_declared_algorithms_are_taken(self, issuer: Issuer) -> None:
        clock = ManualClock()
        issuer.keys = [jwk(rsa_key()), jwk(ec_key())]
        who, keys = self.of(issuer, clock, algorithms=("ES256",)), keys_in_memory(clock=clock)
        assert principal(who, self.signed(ec_key(), {}, "ES256"), keys=keys) == "alice"
        assert refusal(who, self.signed(rsa_key()), keys=keys).reason == "token_algorithm"

    def test_a_place_that_the_token_names_is_never_asked(self, issuer: Issuer) -> None:
        clock = ManualClock()
        issuer.keys = [jwk(rsa_key(), kid="1")]
        with issuing() as attacker:
            attacker.keys = [jwk(rsa_key("stranger"), kid="1")]
            for header in ({"jku": attacker.url}, {"x5u": attacker.url}, {"kid": attacker.url}):
                sent = self.signed(rsa_key("stranger"), {"kid": "1"} | header)
                assert refusal(self.of(issuer, clock), sent, keys=keys_in_memory(clock=clock)).status == 401
            assert attacker.asked == 0


class TestOwnVerifiers:
    """A function of the user's."""

    def own(self, function: Callable[[Request], Any]) -> ChannelVerifier:
        return verifier(function)

    def test_what_it_returns_is_the_principal(self) -> None:
        who = self.own(lambda sent: f"from {sent.header(b'x-who')}")
        assert not who.needs_body
        assert principal(who, request(x_who="bob")) == "from bob"

    def test_its_refusals_are_refusals_and_every_401_has_a_challenge(self) -> None:
        def plain(_: Request) -> str:
            raise Unauthorized("Say please.", reason="rude")

        def with_challenge(_: Request) -> str:
            raise Unauthorized(headers=(("www-authenticate", "Polite"),))

        def forbidding(_: Request) -> str:
            raise Forbidden("Not you.")

        refused = refusal(self.own(plain), request())
        assert (refused.status, refused.reason, refused.detail) == (401, "rude", "Say please.")
        assert challenge(refused) == 'Bearer realm="orders"'
        assert refusal(self.own(with_challenge), request()).headers == (("www-authenticate", "Polite"),)
        assert refusal(self.own(forbidding), request()).status == 403

    @pytest.mark.parametrize("returned", [None, True, 7, b"bob", "", "a" * 256, "bob\n", "bob\ud800", ["bob"]])
    def test_a_return_value_that_is_no_principal_lets_nobody_in(self, returned: object) -> None:
        with pytest.raises(Broken):
            principal(self.own(lambda _: returned), request())

    @pytest.mark.parametrize("raised", [KeyError("secret"), NotFound(), StopIteration("bob"), Misuse("x"), OSError()])
    def test_whatever_else_it_raises_lets_nobody_in_and_is_no_refusal(self, raised: Exception) -> None:
        def raising(_: Request) -> str:
            raise raised

        with pytest.raises((Broken, KeyError, RuntimeError, Misuse, OSError)):
            principal(self.own(raising), request())


class TestSettings:
    """What cannot work is refused before the first request, with one sentence."""

    def refused(self, **settings: str) -> Callable[..., str]:
        names = {"issuer": "shop", "audience": "orders"}

        def sentence(**options: Any) -> str:
            with pytest.raises(Misuse) as caught:
                verifier_for(Channel("/orders", auth=Jwt(**(names | options))), settings, ManualClock())
            text = str(caught.value)
            assert text.startswith("Channel /orders: ")
            assert "\n" not in text
            return text

        return sentence

    def test_secrets_and_environment_are_looked_up_by_name(self) -> None:
        auth = Jwt(issuer=Env("ISS", "shop"), audience=Env("AUD"), secret=Secret("KEY"))
        assert principal(verifier(auth, AUD="orders", KEY=SECRET), bearing(token())) == "alice"
        other = verifier(auth, AUD="orders", KEY=SECRET, ISS="other")
        assert refusal(other, bearing(token())).reason == "token_claims"

    def test_a_missing_setting_is_named(self) -> None:
        assert "ORDERS_KEY" in self.refused()(secret=Secret("ORDERS_KEY"))
        assert "ORDERS_KEY" in self.refused(ORDERS_KEY="")(secret=Secret("ORDERS_KEY"))
        assert "ISSUER" in self.refused()(secret=SECRET, issuer=Env("ISSUER"))
        assert "AUDIENCE" in self.refused()(secret=SECRET, audience=Env("AUDIENCE", ""))

    def test_a_short_secret_is_refused_by_its_bytes_and_not_shown(self) -> None:
        assert "32 bytes" in self.refused()(secret="short secret of 31 bytes, or so"[:31])
        assert "short secret" not in self.refused(KEY="short secret")(secret=Secret("KEY"))
        verifier(Jwt(issuer="shop", audience="orders", secret="é" * 16))

    def test_a_key_file_is_no_secret(self) -> None:
        assert "public_key" in self.refused()(secret=pem(rsa_key()))

    @pytest.mark.parametrize("text", ["no PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "é"])
    def test_a_public_key_that_cannot_be_read_is_refused(self, text: str) -> None:
        assert "PEM" in self.refused()(public_key=text)

    def test_a_private_key_is_no_public_key(self) -> None:
        private = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        assert "not a public key" in self.refused()(public_key=private)

    def test_a_key_of_the_wrong_kind_is_refused(self) -> None:
        for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())):
            text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            assert "P-256" in self.refused()(public_key=text)
        assert "RS256" in self.refused()(public_key=pem(rsa_key()), algorithms=("ES256",))
        assert "ES256" in self.refused()(public_key=pem(ec_key()), algorithms=("RS256",))

    def test_a_small_rsa_key_is_refused(self) -> None:
        assert "1024 bits" in self.refused()(public_key=pem(rsa_key("small", 1024)))

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/jwks.json",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "https://user:word@example.com/",
            "https:///jwks.json",
            "https://example.com:port/",
            "https://example.com/a b",
            "https://example.com/\n",
            "ftp://localhost/",
            "file:///etc/keys",
            "jwks.json",
        ],
    )
    def test_keys_are_not_fetched_from_just_anywhere(self, url: str) -> None:
        assert "jwks_url" in self.refused()(jwks_url=url)

    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com/jwks",
            "http://localhost:1/",
            "http://127.0.0.9/",
            "http://[::1]:8080/k",
            "HTTPS://x",
        ],
    )
    def test_https_and_this_machine_are_fine(self, url: str) -> None:
        verifier(Jwt(issuer="shop", audience="orders", jwks_url=url))
