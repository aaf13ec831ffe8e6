"""Webhook signatures, each style against values that its own documents' way of signing gives."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.declare.auth import Signed
from headgate.declare.channel import Channel
from headgate.declare.settings import Env, Secret
from headgate.errors import Broken, Misuse
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.verify import verifier_for
from headgate.http import Request
from tests.gate.driver import challenge, principal, refusal, request

BODY = b'{"test": 2432232314}'
RAW_KEY = b"a key of at least 24 bytes"
WHSEC = "whsec_" + base64.b64encode(RAW_KEY).decode()
NOW_S = 1_767_225_600


def verifier(style: Any = "standard", secret: Any = WHSEC, clock: ManualClock | None = None) -> ChannelVerifier:
    channel = Channel("/orders", auth=Signed(secret, style=style))
    return verifier_for(channel, {"NEW": WHSEC, "OLD": "old secret"}, clock or ManualClock())


def hex_mac(key: bytes, *parts: bytes) -> str:
    return hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest()


def standard(key: bytes = RAW_KEY, at_s: int | str = NOW_S, id_: str = "msg_1", body: bytes = BODY) -> str:
    mac = hmac.new(key, f"{id_}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


def standard_request(signature: str, at_s: int | str = NOW_S, id_: str = "msg_1") -> Request:
    return request(webhook_id=id_, webhook_timestamp=str(at_s), webhook_signature=signature)


def stripe_request(key: bytes = b"whsec_stripe", at_s: int | str = NOW_S, *, before: str = "") -> Request:
    return request(stripe_signature=f"t={at_s},{before}v1={hex_mac(key, f'{at_s}.'.encode(), BODY)},v0=legacy")


def github_request(key: bytes = b"github secret") -> Request:
    return request(x_hub_signature_256="sha256=" + hex_mac(key, BODY))


def test_the_example_of_standard_webhooks_is_let_in() -> None:
    # The pair that the libraries of standardwebhooks.com test themselves with.
    clock = ManualClock(1_614_265_330_000)
    sent = request(
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        webhook_timestamp="1614265330",
        webhook_signature="v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    )
    who = verifier(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", clock=clock)
    assert principal(who, sent, BODY) == "standard"


def test_the_example_of_github_is_let_in() -> None:
    # From GitHub's page on validating webhook deliveries.
    sent = request(x_hub_signature_256="sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
    who = verifier("github", "It's a Secret to Everybody")
    assert principal(who, sent, b"Hello, World!") == "github"


def test_each_style_lets_its_own_signature_in_and_needs_the_body_for_it() -> None:
    for style, secret, sent in [
        ("standard", WHSEC, standard_request(standard())),
        ("standard", "raw secret text", standard_request(standard(b"raw secret text"))),
        ("stripe", "whsec_stripe", stripe_request()),
        ("github", "github secret", github_request()),
    ]:
        who = verifier(style, secret)
        assert who.needs_body
        assert principal(who, sent, BODY) == style


@pytest.mark.parametrize(
    ("style", "secret", "sent"),
    [
        ("standard", WHSEC, standard_request(standard())),
        ("stripe", "whsec_stripe", stripe_request()),
        ("github", "github secret", github_request()),
    ],
)
def test_another_body_or_secret_is_refused(style: str, secret: str, sent: Request) -> None:
    for body, known in [(BODY + b" ", secret), (b"", secret), (BODY, "whsec_b3RoZXI=")]:
        refused = refusal(verifier(style, known), sent, body)
        assert (refused.status, refused.reason) == (401, "signature_mismatch")
        assert challenge(refused) == 'HMAC-SHA256 realm="orders"'
        assert secret not in refused.detail


def test_one_good_signature_among_several_is_enough() -> None:
    several = f"v1,AAAA v1a,{standard()[3:]} v2,x {standard()} v1,"
    assert principal(verifier(), standard_request(several), BODY) == "standard"
    assert principal(verifier("stripe", "whsec_stripe"), stripe_request(before="v1=00,v1=,"), BODY) == "stripe"


def test_a_good_signature_of_another_version_is_refused() -> None:
    for signature in (standard().replace("v1,", "v2,"), standard().replace("v1,", "v1a,"), standard()[3:]):
        assert refusal(verifier(), standard_request(signature), BODY).reason == "signature_mismatch"
    only_v0 = f"t={NOW_S},v0={hex_mac(b's', f'{NOW_S}.'.encode(), BODY)}"
    assert refusal(verifier("stripe", "s"), request(stripe_signature=only_v0), BODY).status == 401
    sha1 = request(x_hub_signature_256="sha1=" + hex_mac(b"s", BODY))
    assert refusal(verifier("github", "s"), sha1, BODY).status == 401


def test_while_secrets_rotate_both_are_good() -> None:
    who = verifier(secret=(Secret("NEW"), Env("OLD")))
    assert principal(who, standard_request(standard(RAW_KEY)), BODY) == "standard"
    assert principal(who, standard_request(standard(b"old secret")), BODY) == "standard"
    assert refusal(who, standard_request(standard(b"older secret")), BODY).status == 401


@pytest.mark.parametrize("style", ["standard", "stripe"])
@pytest.mark.parametrize(("off_s", "good"), [(-300, True), (300, True), (-300.001, False), (300.001, False)])
def test_the_window_is_exact_both_ways(style: str, off_s: float, good: bool) -> None:
    clock = ManualClock(NOW_S * 1000)
    who = verifier(style, WHSEC, clock)
    sent = standard_request(standard()) if style == "standard" else stripe_request(WHSEC.encode())
    clock.jump(off_s)
    if good:
        assert principal(who, sent, BODY) == style
    else:
        assert refusal(who, sent, BODY).reason == "signature_window"


@pytest.mark.parametrize("at_s", ["", "now", "-1", "1e9", "1767225600.0", "٣", "9" * 5000, " 1767225600"])
def test_a_signed_timestamp_that_is_no_number_of_seconds_is_refused(at_s: str) -> None:
    assert refusal(verifier(), standard_request(standard(at_s=at_s), at_s), BODY).status == 401
    assert refusal(verifier("stripe", "whsec_stripe"), stripe_request(at_s=at_s), BODY).status == 401


def test_a_timestamp_or_id_that_was_not_signed_is_refused() -> None:
    assert refusal(verifier(), standard_request(standard(), NOW_S + 1), BODY).reason == "signature_mismatch"
    assert refusal(verifier(), standard_request(standard(), id_="msg_2"), BODY).reason == "signature_mismatch"
    twice = f"t={NOW_S},t={NOW_S + 1},v1={hex_mac(b's', f'{NOW_S}.'.encode(), BODY)}"
    assert refusal(verifier("stripe", "s"), request(stripe_signature=twice), BODY).status == 401


@pytest.mark.parametrize("absent", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_absent_or_empty_is_missing(absent: str) -> None:
    signature = standard(id_="") if absent == "webhook-id" else standard()
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": b"%d" % NOW_S,
        b"webhook-signature": signature.encode(),
    }
    for instead in ({}, {absent.encode(): b""}):
        rest = {name: value for name, value in headers.items() if name != absent.encode()} | instead
        sent = request()._replace(headers=rest)
        assert refusal(verifier(), sent, BODY).reason == "signature_missing"
    for style, header in (("stripe", "Stripe-Signature"), ("github", "X-Hub-Signature-256")):
        refused = refusal(verifier(style, "s"), request(), BODY)
        assert (refused.reason, refused.detail) == (
            "signature_missing",
            f"Sign the body, and send the header {header}.",
        )


@pytest.mark.parametrize("junk", [b"\xff\xfe", b",", b"=", b"v1", b"v1,,,", b"sha256=", b"t=,v1=", b" " * 9000])
def test_junk_for_a_signature_is_refused_and_nothing_worse(junk: bytes) -> None:
    sent = {b"webhook-id": b"\xff", b"webhook-timestamp": b"1767225600"}
    for name, style in [
        ("webhook-signature", "standard"),
        ("stripe-signature", "stripe"),
        ("x-hub-signature-256", "github"),
    ]:
        junked = request()._replace(headers=sent | {name.encode(): junk})
        assert refusal(verifier(style, "s"), junked, BODY).status == 401


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_!!!", "whsec_abc", "whsec_QUJD!!!QUJD", "whsec_ü", "", Secret("ABSENT"), Env("ABSENT")]
)
def test_a_secret_that_cannot_work_is_refused_at_the_start(secret: str | Secret | Env) -> None:
    with pytest.raises(Misuse, match=r"^Channel /orders: ") as caught:
        verifier(secret=secret)
    assert "!!!" not in str(caught.value)


def test_without_the_body_nothing_is_let_in() -> None:
    with pytest.raises(Broken):
        principal(verifier("github", "s"), request(x_hub_signature_256="sha256=" + hex_mac(b"s", b"")), None)
