"""AWS signatures: AWS's own vectors, what botocore signs, and one thing wrong at a time."""

from __future__ import annotations

import json
import random
import string
from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from headgate.clock import ManualClock
from headgate.errors import Forbidden
from headgate.gate.effects import Effect, Resign
from headgate.gate.iam import IamVerifier
from headgate.http import Request
from headgate.local.keys import IamKeyRow, new_iam_key
from headgate.local.sigv4 import resigned
from tests.cases import cases_folder
from tests.gate.driver import driven

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
ROUNDS = 2_000


class Sent(NamedTuple):
    """A signed request, as it goes over the wire."""

    method: str
    path: str
    query: str
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def request(self) -> Request:
        return Request(self.method, self.path, self.query, dict(self.fields), "request-1", 0, fields=self.fields)


class Desk:
    """A verifier, and the access keys it knows."""

    def __init__(self, *rows: IamKeyRow, region: str = "us-east-1", service: str = "execute-api") -> None:
        self.clock = ManualClock(NOW_MS)
        self.rows = {row.id: row for row in rows}
        self.verifier = IamVerifier("requests", region, service, self.clock)

    def principal(self, sent: Sent) -> str:
        return driven(self.verifier.verify(sent.request(), sent.body), self._carried_out)

    def refusal(self, sent: Sent) -> Forbidden:
        with pytest.raises(Forbidden) as caught:
            self.principal(sent)
        return caught.value

    def _carried_out(self, effect: Effect) -> Any:
        assert isinstance(effect, Resign)
        return resigned(effect, self.rows.get(effect.access_key_id), self.clock.now_ms())


KEY = new_iam_key("", "tester", 0)


def signed(
    url: str = "http://127.0.0.1:8000/requests",
    method: str = "POST",
    body: bytes = b'{"a": 1}',
    headers: dict[str, str] | None = None,
    key: IamKeyRow = KEY,
    region: str = "us-east-1",
    service: str = "execute-api",
    at: datetime = NOW,
) -> Sent:
    """A request as botocore signs it and a client sends it."""
    request = AWSRequest(method, url, dict(headers or {}), body)
    with patch("botocore.auth.get_current_datetime", lambda: at):
        credentials = Credentials(key.id, key.secret, key.session_token or None)
        botocore.auth.SigV4Auth(credentials, service, region).add_auth(request)
    target = urlsplit(url)
    fields = [("host", target.netloc), *request.headers.items()]
    wire = [(name.lower().encode(), str(value).encode("latin-1")) for name, value in fields]
    return Sent(method, target.path, target.query, wire, body)


def with_header(sent: Sent, name: str, value: str | None) -> Sent:
    fields = [field for field in sent.fields if field[0] != name.encode()]
    return sent._replace(fields=fields if value is None else [*fields, (name.encode(), value.encode())])


def header(sent: Sent, name: str) -> str:
    return dict(sent.fields)[name.encode()].decode()


# ---------------------------------------------------------------------------------------------------------- vectors


def vectors() -> list[Any]:
    return json.loads((cases_folder() / "sigv4.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("at", range(34))
def test_the_vectors_of_aws_are_accepted_and_refused_with_another_secret(at: int) -> None:
    case = vectors()[at]
    asked = case["signed_request"]
    fields = [(name.lower().encode(), value.encode()) for name, value in asked["headers"][:-1]]
    # What is sent in get-vanilla-with-session-token bears the signature of another vector; elsewhere it is the same.
    fields.append((b"authorization", case["authorization"].encode()))
    path, _, query = asked["target"].encode().decode("latin-1").partition("?")
    sent = Sent(asked["method"], path, query, fields, asked["body"].encode())
    token = dict(fields).get(b"x-amz-security-token", b"").decode().strip()
    credentials = case["credentials"]
    row = IamKeyRow(credentials["access_key"], "", "", credentials["secret_key"], token, 0, None)
    desk = Desk(row, region=case["region"], service=case["service"])
    desk.clock.jump(datetime.fromisoformat(case["now"]).timestamp() - NOW.timestamp())
    assert desk.principal(sent) == credentials["access_key"]
    desk.rows[row.id] = row._replace(secret="x" * 40)
    assert desk.refusal(sent).reason == "signature_mismatch"


def test_there_are_34_vectors() -> None:
    assert len(vectors()) == 34


# ------------------------------------------------------------------------------------------------- botocore, at random


def anything(chance: random.Random) -> Sent:
    """A request that somebody might sign."""
    letters = string.ascii_letters + string.digits + "-._~"
    quoted = [*letters, "%20", "%2F", "%E1%88%B4", "%25", "+", "$", "!", "'", "(", ")", "*", ",", ":", "@"]
    path = "/" + "/".join("".join(chance.choices(quoted, k=chance.randint(1, 8))) for _ in range(chance.randint(1, 4)))
    pairs = ["".join(chance.choices(quoted, k=3)) + "=" + "".join(chance.choices(quoted, k=3)) for _ in range(3)]
    query = "?" + "&".join(pairs[: chance.randint(0, 3)])
    headers = {"content-type": "application/json"} if chance.random() < 0.5 else {}
    for _ in range(chance.randint(0, 3)):
        value = "".join(chance.choices([*letters, " ", "  ", ",", "é", '"'], k=chance.randint(1, 12))).strip() or "x"
        headers["x-" + chance.choice(("amz-meta-", "own-")) + "".join(chance.choices("abc", k=4))] = value
    if chance.random() < 0.2:
        headers["Date"] = "now"
    body = bytes(chance.choices(range(256), k=chance.randint(0, 200)))
    host = chance.choice(("127.0.0.1:8000", "intake.example", "[::1]:9"))
    return signed(f"http://{host}{path}{query.rstrip('?')}", chance.choice(("POST", "GET", "HEAD")), body, headers)


def mutant(sent: Sent, chance: random.Random) -> Sent:
    """The same request with one thing wrong."""
    authorization = header(sent, "authorization")

    def claim(old: str, new: str) -> Sent:
        assert old in authorization
        return with_header(sent, "authorization", authorization.replace(old, new, 1))

    dated = "x-amz-date" if "x-amz-date" in {name.decode() for name, _ in sent.fields} else "date"
    signature = authorization[-64:]
    at = chance.randrange(64)
    other = chance.choice([digit for digit in "0123456789abcdef" if digit != signature[at]])
    kinds: list[Sent] = [
        sent._replace(method="PUT"),
        sent._replace(path=sent.path + "x"),
        sent._replace(query=sent.query + ("&" if sent.query else "") + "extra=1"),
        sent._replace(query=sent.query + "#x"),
        sent._replace(path=sent.path + "#x"),
        sent._replace(body=sent.body + b" "),
        with_header(sent, "host", "elsewhere.example"),
        with_header(sent, "x-amz-unsigned", "1"),
        with_header(sent, dated, None),
        with_header(sent, dated, "20260101T120001Z" if dated == "x-amz-date" else "Thu, 01 Jan 2026 12:00:01 GMT"),
        with_header(sent, "authorization", None),
        with_header(sent, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        claim(signature, signature[:at] + other + signature[at + 1 :]),
        claim(signature, signature.upper()) if signature.upper() != signature else claim(signature, "0" * 64),
        claim(KEY.id, "AKIAIOSFODNN7EXAMPLE"),
        claim("us-east-1", "us-east-2"),
        claim("execute-api", "s3"),
        claim("20260101/", "20260102/"),
        claim("host;" if "host;" in authorization else ";host", ""),
        claim("SignedHeaders=", "SignedHeaders=absent;"),
        claim("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
        claim("aws4_request", "aws5_request"),
    ]
    return chance.choice(kinds)


def test_what_botocore_signs_is_accepted_and_with_one_thing_wrong_refused() -> None:
    chance = random.Random(7)
    desk = Desk(KEY)
    for _ in range(ROUNDS):
        sent = anything(chance)
        assert desk.principal(sent) == KEY.id, sent
        wrong = mutant(sent, chance)
        assert desk.refusal(wrong).status == 403, wrong


# ----------------------------------------------------------------------------------------------------------- one by one


def test_an_unknown_key_and_a_bad_signature_are_told_the_same() -> None:
    stranger = new_iam_key("", "stranger", 0)
    told = set()
    for key in (stranger, KEY._replace(secret=stranger.secret), KEY._replace(id=stranger.id)):
        refused = Desk(KEY).refusal(signed(key=key))
        told.add((refused.status, refused.reason, refused.detail, refused.headers))
    assert told == {(403, "signature_mismatch", "The signature, or the access key it is made with, is not valid.", ())}


def test_it_is_403_and_no_challenge_whatever_is_wrong() -> None:
    for bad in ("", "Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 " + "x" * 10_000, "Basic eDp5", "\x00", "é"):
        refused = Desk(KEY).refusal(with_header(signed(), "authorization", bad))
        assert (refused.status, refused.headers) == (403, ())


@pytest.mark.parametrize(("off_s", "good"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_time_may_be_five_minutes_off(off_s: int, good: bool) -> None:
    desk = Desk(KEY)
    sent = signed()
    desk.clock.jump(off_s)
    if good:
        assert desk.principal(sent) == KEY.id
    else:
        assert desk.refusal(sent).reason == "signature_window"


class TestTemporaryKeys:
    """Keys with a session token."""

    @pytest.fixture
    def key(self) -> IamKeyRow:
        return new_iam_key("", "tester", NOW_MS, session_s=60)

    def test_a_key_is_good_with_its_token_until_it_expires(self, key: IamKeyRow) -> None:
        desk = Desk(key)
        assert desk.principal(signed(key=key)) == key.id
        desk.clock.advance(59.999)
        assert desk.principal(signed(key=key)) == key.id
        desk.clock.advance(0.001)
        assert desk.refusal(signed(key=key)).reason == "session_expired"

    def test_without_its_token_or_with_another_it_is_as_good_as_unknown(self, key: IamKeyRow) -> None:
        desk = Desk(key, KEY)
        for token in ("", "x" * 128):
            assert desk.refusal(signed(key=key._replace(session_token=token))).reason == "signature_mismatch"
        assert desk.refusal(signed(key=KEY._replace(session_token="x"))).reason == "signature_mismatch"


def test_a_key_that_is_for_one_channel_does_not_open_another() -> None:
    elsewhere, here = new_iam_key("orders", "", 0), new_iam_key("requests", "", 0)
    assert Desk(elsewhere, here).refusal(signed(key=elsewhere)).reason == "iam_channel"
    assert Desk(elsewhere, here).principal(signed(key=here)) == here.id


def test_a_header_is_signed_with_all_its_values_and_a_second_one_is_noticed() -> None:
    sent = signed(headers={"x-amz-meta": "a"})
    twice = sent._replace(fields=[*sent.fields, (b"x-amz-meta", b"b")])
    assert Desk(KEY).refusal(twice).reason == "signature_mismatch"
    again = sent._replace(fields=[*sent.fields, (b"authorization", header(sent, "authorization").encode())])
    assert Desk(KEY).refusal(again).reason == "signature_malformed"


def test_neither_a_key_nor_what_is_signed_with_it_tells_its_secret() -> None:
    made = [new_iam_key("", "", 0) for _ in range(100)]
    assert len({row.secret for row in made}) == len({row.id for row in made}) == 100
    assert all(len(row.secret) == 40 and len(row.id) == 20 for row in made)
