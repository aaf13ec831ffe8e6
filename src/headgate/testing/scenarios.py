"""What a sender can rely on, asked over HTTP of any address that serves headgate.testing.app.

    class TestMySite(HttpScenarios):
        @pytest.fixture
        def site(self) -> Site:
            return Site("https://intake.example", settings={...}, api_keys={"alice": "hg_...", "bob": "hg_..."})

Keys are new in every run, so the same address can be asked again and again.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from headgate import limits
from headgate.clock import SystemClock
from headgate.declare.auth import Jwt, Signed
from headgate.declare.channel import Channel
from headgate.testing.answer import Answer, Headers
from headgate.testing.app import HIDDEN, ORIGIN, app
from headgate.testing.credentials import Credentials
from headgate.testing.flows import app as flows
from headgate.testing.jobs import app as jobs

REMAPPED = "x-amzn-Remapped-WWW-Authenticate"
PATIENCE_S = 120
"""What is asked for comes within seconds; but a slow machine that is busy may take so long."""
_BURST = 16
_BURSTS = 10
_CHANNELS = {channel.name: channel for channel in (*app.channels, *jobs.channels, *flows.channels)}
_PROBLEM = {"type", "title", "status", "detail", "message", "errors", "request_id"}


@dataclass(frozen=True)
class Site:
    """An address that serves headgate.testing.app; or headgate.testing.jobs or .flows, which need neither settings
    nor keys.

    `settings` holds the values of the secrets it was started with, `api_keys` the keys that alice and bob have for
    the channel `notes`, `iam` an access key as `headgate keys --json` tells it; without one, what needs it is skipped.
    """

    base_url: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    iam: Mapping[str, str] = field(default_factory=dict, repr=False)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, with nothing added, on a connection of its own."""
        base = urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
        connection = kind(base.netloc, timeout=PATIENCE_S)
        try:
            connection.request(method, base.path.rstrip("/") + path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, Headers(response.getheaders()), response.read())
        finally:
            connection.close()

    def post(
        self, channel: str, message: object, headers: Mapping[str, str] | None = None, *, sender: str = "alice"
    ) -> Answer:
        """Post a message (bytes as they are, anything else as JSON) with good credentials."""
        body = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()
        shown = self.credentials(channel, sender, body, "POST")
        sent = {"Content-Type": "application/json", **shown, **(headers or {})}
        return self.ask("POST", _CHANNELS[channel].path, body, sent)

    def read(self, channel: str, rest: str, *, sender: str = "alice") -> Answer:
        """GET what is behind a channel: `/key` or `?index=value`."""
        shown = self.credentials(channel, sender, b"", "GET", rest)
        return self.ask("GET", _CHANNELS[channel].path + rest, None, shown)

    def credentials(self, channel: str, sender: str, body: bytes, method: str, rest: str = "") -> dict[str, str]:
        """The headers that open a channel, for one request to what is behind it."""
        found = _CHANNELS[channel]
        url = self.base_url.rstrip("/") + found.path + rest
        signer = Credentials(self.settings, SystemClock(), {"notes": self.api_keys.get(sender, "")}, self.iam)
        return signer.headers(found, body, sender=sender, id_=f"msg_{uuid4()}", url=url, method=method)

    def token(self, channel: str, **claims: object) -> str:
        """A token with claims of one's own; None leaves one out."""
        found: Channel = _CHANNELS[channel]
        assert isinstance(found.auth, Jwt)
        return Credentials(self.settings, SystemClock()).token(found, found.auth, "alice", **claims)


def new_key() -> str:
    return str(uuid4())


def note(key: object = None, **fields: object) -> dict[str, object]:
    return {"id": new_key() if key is None else key, "text": "hello", **fields}


def is_problem(answer: Answer, status: int, reason: str | None = None) -> list[dict[str, str]]:
    """Assert that an answer is a problem as it is documented; returns its errors."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() >= _PROBLEM
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["message"]
    assert problem["type"].startswith("urn:headgate:problem:")
    if reason is not None:
        assert problem["type"].endswith(f":{reason}")
    for error in problem["errors"]:
        assert error.keys() == {"pointer", "detail", "type"}
    errors: list[dict[str, str]] = problem["errors"]
    return errors


def pointers(answer: Answer, status: int = 400) -> set[str]:
    return {error["pointer"] for error in is_problem(answer, status)}


def challenge(answer: Answer, channel: str) -> str:
    """How to authenticate. API Gateway renames the header where a function replied, as for webhooks one has to."""
    remapped = answer.headers.get(REMAPPED, "") if isinstance(_CHANNELS[channel].auth, Signed) else ""
    return remapped or answer.headers["WWW-Authenticate"]


def needs_access_key(site: Site) -> None:
    if not site.iam:
        pytest.skip("the site was given no access key")


def last_answer(site: Site, channel: str, message: object) -> Answer:
    """What a sender is told who comes again while its twin is being stored, which takes long on a slow disk."""
    until_s = time.monotonic() + PATIENCE_S
    while (answer := site.post(channel, message)).status == 409 and time.monotonic() < until_s:
        if not answer.json()["type"].endswith(":in_progress"):
            break
        time.sleep(int(answer.headers["Retry-After"]))
    return answer


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


class HttpScenarios:
    """Adopt by subclassing and giving the fixture `site`."""

    @pytest.fixture
    def site(self) -> Site:
        raise NotImplementedError("give a fixture `site` in the class that adopts these scenarios")

    # ------------------------------------------------------------------------------------------------------ P2: once

    def test_a_message_is_made_and_found(self, site: Site) -> None:
        sent = note(amount=2.5, at="2026-01-24T18:04:01+01:00")
        made = site.post("notes", sent)
        assert made.status == 201
        assert made.json() == {"id": sent["id"]}
        assert made.headers["Content-Type"] == "application/json"
        assert not is_replay(made)
        found = site.read("notes", f"/{sent['id']}")
        assert found.status == 200
        assert found.json().keys() == {"key", "status", "received_at", "body", "error"}
        assert (found.json()["key"], found.json()["body"], found.json()["error"]) == (sent["id"], sent, None)

    def test_the_same_again_is_the_same_answer(self, site: Site) -> None:
        sent = note(amount=1)
        first = site.post("notes", sent)
        for spelling in (
            json.dumps(sent),
            json.dumps(dict(reversed(sent.items())), indent=4),
            f" {json.dumps(sent)}\n",
        ):
            again = site.post("notes", spelling.encode())
            assert (again.status, again.body) == (first.status, first.body)
            assert is_replay(again)

    def test_another_body_is_409_and_the_first_stands(self, site: Site) -> None:
        sent = note(amount=1)
        site.post("notes", sent)
        is_problem(site.post("notes", {**sent, "amount": 2}), 409, "conflict")
        is_problem(site.post("notes", {**sent, "text": "another"}), 409, "conflict")
        is_problem(site.post("notes", {**sent, "text": ""}), 400)
        assert site.read("notes", f"/{sent['id']}").json()["body"] == sent
        assert is_replay(site.post("notes", sent))

    def test_numbers_are_compared_as_they_are_written(self, site: Site) -> None:
        key = new_key()
        assert site.post("notes", f'{{"id":"{key}","text":"x","amount":2.10}}'.encode()).status == 201
        is_problem(site.post("notes", f'{{"id":"{key}","text":"x","amount":2.1}}'.encode()), 409)

    def test_twins_at_the_same_time_get_one_answer(self, site: Site) -> None:
        sent = note()
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: last_answer(site, "notes", sent), range(64)))
        assert {(answer.status, answer.body) for answer in answers} == {
            (201, json.dumps({"id": sent["id"]}, separators=(",", ":")).encode())
        }
        assert [is_replay(answer) for answer in answers].count(False) == 1

    def test_of_different_bodies_at_the_same_time_one_wins(self, site: Site) -> None:
        key = new_key()
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda n: site.post("notes", note(key, count=n)), range(32)))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 31
        winner = next(n for n, answer in enumerate(answers) if answer.status == 201)
        assert site.read("notes", f"/{key}").json()["body"]["count"] == winner

    def test_messages_without_a_key_never_become_one(self, site: Site) -> None:
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: site.post("requests", {"same": True}), range(64)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 64

    def test_an_idempotency_key_counts_for_its_sender_alone(self, site: Site) -> None:
        header = {"Idempotency-Key": new_key()}
        path = f"/{header['Idempotency-Key']}"
        assert site.post("requests", {"of": "alice"}, header).status == 201
        assert site.post("requests", {"of": "bob"}, header, sender="bob").status == 201
        assert is_replay(site.post("requests", {"of": "alice"}, header))
        is_problem(site.post("requests", {"of": "bob"}, header), 409, "conflict")
        assert site.read("requests", path).json()["body"] == {"of": "alice"}
        assert site.read("requests", path, sender="bob").json()["body"] == {"of": "bob"}
        carol = {"Authorization": f"Bearer {site.token('requests', sub='carol')}"}
        is_problem(site.ask("GET", f"/requests{path}", None, carol), 404)

    def test_a_key_in_the_body_counts_for_the_channel(self, site: Site) -> None:
        sent = note()
        site.post("notes", sent)
        assert is_replay(site.post("notes", sent, sender="bob"))
        is_problem(site.post("notes", {**sent, "count": 1}, sender="bob"), 409)
        assert site.post("each", [sent]).json()["items"][0]["status"] == "stored"

    def test_a_key_is_free_again_when_its_message_has_expired(self, site: Site) -> None:
        key = new_key()
        assert site.post("brief", {"id": key, "n": 1}).status == 201
        give_up = time.monotonic() + PATIENCE_S
        while (answer := site.post("brief", {"id": key, "n": 2})).status != 201 or (
            found := site.read("brief", f"/{key}")
        ).status == 404:  # it may have expired as well before it could be read
            assert answer.status in (201, 409)
            assert time.monotonic() < give_up
            time.sleep(0.1)
        assert found.json()["body"]["n"] == 2

    # ----------------------------------------------------------------------------------------- P3: whose fault it is

    def test_all_faults_are_told_at_once_with_their_places(self, site: Site) -> None:
        bad = {"text": "", "amount": "1", "done": 1, "at": "2026-01-24T18:04:01", "topic": ["x"]}
        answer = site.post("notes", bad)
        assert pointers(answer) == {"/id", "/text", "/amount", "/done", "/at", "/topic"}
        nested = {"metadata": {"company_id": 1}, "data": {"a/b": "x", "~": 1}, "more": 1}
        places = {"/metadata/message_id", "/metadata/company_id", "/data/a~1b", "/more"}
        assert pointers(site.post("nested", nested)) == places

    def test_true_and_null_are_values_but_no_numbers(self, site: Site) -> None:
        assert site.post("notes", note(done=True, amount=None, at=None)).status == 201
        assert pointers(site.post("notes", note(amount=True))) == {"/amount"}
        assert pointers(site.post("notes", note(count=False))) == {"/count"}
        assert pointers(site.post("notes", note(count=1.5))) == {"/count"}

    def test_a_time_without_a_zone_is_not_given_one(self, site: Site) -> None:
        assert pointers(site.post("notes", note(at="2026-01-24T18:04:01"))) == {"/at"}
        sent = note(at="2026-01-24T18:04:01+05:30")
        site.post("notes", sent)
        assert site.read("notes", f"/{sent['id']}").json()["body"]["at"] == "2026-01-24T18:04:01+05:30"

    @pytest.mark.parametrize("channel", ["notes", "each", "all", "nested", "requests"])
    @pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf{}", b"{", b'{"id": }', b"\xff", b"NaN", b"{} {}"])
    def test_what_is_not_json_is_400(self, site: Site, channel: str, body: bytes) -> None:
        is_problem(site.post(channel, body), 400)

    @pytest.mark.parametrize("channel", ["notes", "each", "all", "nested"])
    @pytest.mark.parametrize("body", [b"null", b"true", b"0", b'""', b"{}", b"[]", b"[[]]", b"[null]"])
    def test_what_is_no_message_is_400(self, site: Site, channel: str, body: bytes) -> None:
        assert site.post(channel, body).status == 400

    @pytest.mark.parametrize(
        "body", [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'["\\ud83d"]', b"[" * 65 + b"]" * 65, b"[" * 90_000]
    )
    def test_json_that_readers_disagree_about_is_400(self, site: Site, body: bytes) -> None:
        is_problem(site.post("any", body), 400)

    def test_an_absent_body_is_400(self, site: Site) -> None:
        answer = site.ask("POST", "/any", None, {"Content-Type": "application/json"})
        is_problem(answer, 400, "empty_body")

    def test_another_media_type_is_415(self, site: Site) -> None:
        for media in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "json"):
            is_problem(site.post("any", {}, {"Content-Type": media}), 415, "unsupported_media")
        is_problem(site.post("any", {}, {"Content-Encoding": "gzip"}), 415)
        for media in ("application/json; charset=utf-8", "application/cloudevents+json", "APPLICATION/JSON"):
            assert site.post("any", {}, {"Content-Type": media}).status == 201

    def test_an_unknown_address_is_404(self, site: Site) -> None:
        for path in ("/", "/nothing", "/notes/", "/notes/1/2", "/NOTES", "/-/nothing", "/silent/1", "/any/../notes/x"):
            is_problem(site.ask("GET", path, None, site.credentials("notes", "alice", b"", "GET")), 404)
        is_problem(site.read("notes", f"/{new_key()}"), 404)

    def test_another_method_is_405_and_says_which_are_allowed(self, site: Site) -> None:
        for method, path, allowed in [
            ("PUT", "/notes", {"GET", "HEAD", "POST"}),
            ("DELETE", "/notes/1", {"GET", "HEAD"}),
            ("GET", "/silent", {"POST"}),
            ("GET", "/any", {"POST"}),
            ("PATCH", "/browser", {"POST", "OPTIONS"}),
        ]:
            answer = site.ask(method, path)
            is_problem(answer, 405, "method_not_allowed")
            assert set(answer.headers["Allow"].split(", ")) == allowed

    def test_a_body_beyond_the_limit_is_413(self, site: Site) -> None:
        assert site.post("small", b'"' + b"x" * 98 + b'"').status == 201
        is_problem(site.post("small", b'"' + b"x" * 99 + b'"'), 413, "too_large")
        is_problem(site.post("small", b" " * 1_000_000), 413, "too_large")

    def test_faster_than_the_throttle_is_429_with_a_time_to_wait(self, site: Site) -> None:
        refused: list[Answer] = []
        for _ in range(_BURSTS):  # the first should do, but for a machine that is so slow that nothing is too fast
            began_s = time.monotonic()
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(lambda n: site.post("throttled", n), range(_BURST)))
            refused += [answer for answer in answers if answer.status != 201]
            assert len(refused) >= _BURST / 2 - (time.monotonic() - began_s), "one a second, and a few at first"
            if refused:
                break
        assert refused
        for answer in refused:
            is_problem(answer, 429, "throttled")
            assert int(answer.headers["Retry-After"]) >= 1

    def test_a_mistake_of_ours_is_500_and_tells_nothing(self, site: Site) -> None:
        answer = site.post("broken", {})
        is_problem(answer, 503 if answer.status == 503 else 500)  # docs/guide/engines.md: API Gateway cannot tell
        for word in (HIDDEN, "RuntimeError", "Traceback", ".py"):
            assert word not in answer.body.decode()

    def test_a_refusal_quotes_neither_the_body_nor_our_code(self, site: Site) -> None:
        marker = new_key()
        for body in (note(amount=marker), {"id": marker, "text": marker * 9}, f'{{"{marker}"'.encode()):
            answer = site.post("notes", body)
            assert answer.status == 400
            for word in (marker, "pydantic", "Traceback", ".py"):
                assert word not in answer.body.decode()

    def test_a_channel_may_shape_its_answers(self, site: Site) -> None:
        sent = note()
        first = site.post("shaped", sent)
        assert (first.status, first.json()["taken"]) == (202, sent["id"])
        assert site.post("shaped", sent).body == first.body
        refused = site.post("shaped", {**sent, "text": "another"})
        assert refused.status == 409
        assert refused.json().keys() == {"error"}

    # --------------------------------------------------------------------------------------------------- P4: batches

    def test_each_answers_item_by_item(self, site: Site) -> None:
        old, taken, new = note(), note(), note()
        assert site.post("each", [old, taken]).status == 201
        answer = site.post("each", [new, old, {**taken, "count": 1}, {"id": "x", "text": "", "amount": "1"}, 5, new])
        assert answer.status == 201
        items = answer.json()["items"]
        assert [item["index"] for item in items] == list(range(6))
        assert [item["status"] for item in items] == [
            "stored",
            "replayed",
            "conflict",
            "invalid",
            "invalid",
            "replayed",
        ]
        assert [item["key"] for item in items[:4]] == [new["id"], old["id"], taken["id"], "x"]
        assert {error["pointer"] for error in items[3]["errors"]} == {"/3/text", "/3/amount"}
        assert "/4" in {error["pointer"] for error in items[4]["errors"]}
        assert items[0]["errors"] == []
        assert site.read("each", f"/{new['id']}").status == 200
        assert site.read("each", f"/{taken['id']}").json()["body"] == taken

    def test_each_names_the_worst_when_nothing_is_stored(self, site: Site) -> None:
        taken = note()
        site.post("each", [taken])
        assert site.post("each", [{**taken, "count": 1}, {}]).status == 409
        assert site.post("each", [{}, 1]).status == 400
        assert site.post("each", [taken]).status == 201

    def test_all_stores_all_or_nothing(self, site: Site) -> None:
        first, second = note(), note()
        assert site.post("all", [first, second]).status == 201
        third, fourth = note(), note()
        assert pointers(site.post("all", [third, {**fourth, "amount": "x"}, {"text": "x"}])) == {"/1/amount", "/2/id"}
        assert pointers(site.post("all", [third, {**first, "count": 1}, fourth]), 409) == {"/1"}
        for key in (third["id"], fourth["id"]):
            is_problem(site.read("all", f"/{key}"), 404)
        assert [item["status"] for item in site.post("all", [third, first]).json()["items"]] == ["stored", "replayed"]

    def test_all_takes_a_hundred_and_no_more(self, site: Site) -> None:
        most = limits.BATCH_ALL.value
        is_problem(site.post("all", [note() for _ in range(most + 1)]), 413, "too_large")
        assert site.post("all", [note() for _ in range(most)]).status == 201

    def test_a_batch_that_breaks_off_stores_nothing(self, site: Site) -> None:
        sent = note()
        is_problem(site.post("each", json.dumps([sent])[:-1].encode()), 400)
        is_problem(site.read("each", f"/{sent['id']}"), 404)

    # ----------------------------------------------------------------------------------------- P9: bytes and numbers

    @pytest.mark.parametrize(
        "body",
        [
            b'{"a": true, "b":2.10,"c":12345678901234567890 , "d":"\xf0\x9f\x9a\xb0 &+%","e":[ ]}',
            b"null",
            b"false",
            b"-0",
            b"1E400",
            b'"\\u0000\\u00e9\xc3\xa9"',
            b'{"":"","\\u0000":1}',
            b'"aGVsbG8="',
        ],
    )
    def test_bytes_come_back_as_they_went_in(self, site: Site, body: bytes) -> None:
        made = site.post("any", body)
        assert made.status == 201
        found = site.read("any", f"/{made.json()['id']}")
        assert found.status == 200
        assert b'"body":' + body + b',"error"' in found.body

    # ---------------------------------------------------------------------------------------------------------- keys

    @pytest.mark.parametrize(
        "bad", ["", "x" * 256, "é" * 128, "a\0b", "a\nb", "\x7f", "a\u0085", None, True, 1.5, 1e3, [], {}]
    )
    def test_what_cannot_be_a_key_is_400(self, site: Site, bad: Any) -> None:
        assert "/id" in pointers(site.post("notes", {"id": bad, "text": "x"}))
        assert "/id" in pointers(site.post("brief", {"id": bad}))

    def test_a_missing_key_is_400(self, site: Site) -> None:
        assert pointers(site.post("brief", {"ID": "1"})) == {"/id"}
        assert pointers(site.post("brief", [1])) == {"/id"}
        assert pointers(site.post("nested", {"metadata": None, "data": {}})) == {"/metadata", "/metadata/message_id"}

    @pytest.mark.parametrize(
        "form", ["{}", "{} with space", "{}/a%2Fb?c=d#e", "{}'\"", "ключ-{}", "\U0001f6b0{}", "{}..", "%00{}"]
    )
    def test_keys_of_any_form_are_found_again(self, site: Site, form: str) -> None:
        key = form.format(new_key())
        assert site.post("notes", note(key)).json() == {"id": key}
        assert site.read("notes", f"/{quote(key, safe='')}").json()["key"] == key

    def test_a_number_may_be_a_key_and_is_kept_as_written(self, site: Site) -> None:
        number = uuid4().int
        assert site.post("notes", note(number)).json() == {"id": str(number)}
        is_problem(site.post("notes", note(str(number))), 409)

    @pytest.mark.parametrize("bad", ["", "x" * 256, "\x80"])
    def test_a_bad_idempotency_key_is_400(self, site: Site, bad: str) -> None:
        is_problem(site.post("requests", {}, {"Idempotency-Key": bad}), 400)

    def test_a_declared_header_has_to_be_there_to_be_the_key(self, site: Site) -> None:
        body = b'{"type":"paid"}'
        headers = site.credentials("hooks", "alice", body, "POST")
        assert site.ask("POST", "/hooks", body, headers).json() == {"id": headers["webhook-id"]}
        assert is_replay(site.ask("POST", "/hooks", body, headers))

    # ----------------------------------------------------------------------------------------------------- who is it

    @pytest.mark.parametrize("channel", ["notes", "nested", "requests", "hooks"])
    def test_without_good_credentials_it_is_401(self, site: Site, channel: str) -> None:
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": "Bearer x"},
            {"Authorization": "Basic eDp5"},
            {"X-Api-Key": "x"},
        ):
            answer = site.ask("POST", f"/{channel}", b"{}", headers)
            is_problem(answer, 401)
            assert challenge(answer, channel)

    def test_reading_asks_for_the_same_credentials(self, site: Site) -> None:
        sent = note()
        site.post("notes", sent)
        for path in (f"/notes/{sent['id']}", f"/notes/{new_key()}", "/notes?topic=x"):
            is_problem(site.ask("GET", path), 401)

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": None},
            {"exp": 1},
            {"iss": None},
            {"iss": "other"},
            {"aud": None},
            {"aud": "other"},
            {"sub": None},
            {"sub": ""},
            {"nbf": 4_000_000_000},
        ],
        ids=str,
    )
    def test_a_token_that_lacks_something_is_401(self, site: Site, claims: dict[str, object]) -> None:
        good, bad = site.token("requests"), site.token("requests", **claims)
        assert site.ask("POST", "/requests", b"1", {"Authorization": f"Bearer {good}"}).status == 201
        is_problem(site.ask("POST", "/requests", b"1", {"Authorization": f"Bearer {bad}"}), 401)

    def test_a_token_without_the_scope_is_403(self, site: Site) -> None:
        token = site.token("nested", scope="read")
        is_problem(site.ask("POST", "/nested", b"{}", {"Authorization": f"Bearer {token}"}), 403)

    def test_a_signature_fits_its_body_alone(self, site: Site) -> None:
        headers = site.credentials("hooks", "alice", b'{"amount":1}', "POST")
        is_problem(site.ask("POST", "/hooks", b'{"amount":2}', headers), 401)
        is_problem(site.ask("POST", "/hooks", b'{"amount":1} ', headers), 401)
        assert site.ask("POST", "/hooks", b'{"amount":1}', headers).status == 201

    def test_a_request_signed_with_an_access_key_is_taken_and_its_message_read(self, site: Site) -> None:
        needs_access_key(site)
        sent = note(topic=f"é &+% {new_key()}")
        assert site.post("iam", sent).status == 201
        assert site.read("iam", f"/{sent['id']}").json()["body"] == sent
        query = f"?topic={quote(str(sent['topic']), safe='')}&limit=1"
        assert [item["key"] for item in site.read("iam", query).json()["items"]] == [sent["id"]]

    def test_what_is_not_well_signed_is_403(self, site: Site) -> None:
        needs_access_key(site)
        body = json.dumps(note()).encode()
        good = {"Content-Type": "application/json", **site.credentials("iam", "alice", body, "POST")}
        stranger = replace(site, iam={**site.iam, "access_key_id": "AKIAIOSFODNN7EXAMPLE"})
        for headers, content in (
            ({}, body),
            ({"Authorization": "Bearer x"}, body),
            (good, body + b" "),
            ({**good, "X-Amz-Date": "20260101T000000Z"}, body),
            ({**good, "X-Amz-Meta": "unsigned"}, body),
            (stranger.credentials("iam", "alice", body, "POST"), body),
        ):
            is_problem(site.ask("POST", "/iam", content, headers), 403)
        assert site.ask("POST", "/iam", body, good).status == 201

    # ------------------------------------------------------------------------------------------------------- reading

    def test_messages_are_found_by_their_fields_page_by_page(self, site: Site) -> None:
        topic = f"é &+% {new_key()}"
        sent = [note(topic=topic, count=n) for n in range(25)]
        for one in sent:
            site.post("notes", one)
        query = f"?topic={quote(topic, safe='')}"
        first = site.read("notes", query).json()
        assert first.keys() == {"items", "cursor"}
        assert [item["key"] for item in first["items"]] == [one["id"] for one in sent[:14:-1]]
        found, cursor = [], ""
        for _ in range(3):
            page = site.read("notes", f"{query}&limit=9{cursor}").json()
            found += [item["body"] for item in page["items"]]
            cursor = f"&cursor={page['cursor']}"
        assert page["cursor"] is None
        assert found == sent[::-1]
        assert site.read("notes", f"?topic={new_key()}").json() == {"items": [], "cursor": None}

    def test_pages_are_stable_while_messages_arrive(self, site: Site) -> None:
        topic = new_key()
        sent = [note(topic=topic) for _ in range(4)]
        for one in sent:
            site.post("notes", one)
        first = site.read("notes", f"?topic={topic}&limit=2").json()
        site.post("notes", note(topic=topic))
        second = site.read("notes", f"?topic={topic}&limit=2&cursor={first['cursor']}").json()
        assert [item["key"] for item in second["items"]] == [sent[1]["id"], sent[0]["id"]]

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "?",
            "?nothing=1",
            "?text=hello",
            "?topic=a&count=1",
            "?topic=a&topic=b",
            "?topic=a&limit=0",
            "?topic=a&limit=101",
            "?topic=a&limit=x",
            "?topic=a&limit=%D9%A1",
            "?topic=a&cursor=x",
            "?topic=a&cursor=",
        ],
    )
    def test_a_question_that_cannot_be_answered_is_400(self, site: Site, query: str) -> None:
        is_problem(site.read("notes", query), 400)

    def test_a_cursor_is_good_for_its_own_question_alone(self, site: Site) -> None:
        topic = new_key()
        for n in range(2):
            site.post("notes", note(topic=topic, count=n))
        cursor = site.read("notes", f"?topic={topic}&limit=1").json()["cursor"]
        is_problem(site.read("notes", f"?topic=other&cursor={cursor}"), 400, "invalid_cursor")
        is_problem(site.read("notes", f"?count=1&cursor={cursor}"), 400, "invalid_cursor")

    def test_messages_are_found_by_a_nested_field(self, site: Site) -> None:
        company, key = new_key(), new_key()
        made = site.post("nested", {"metadata": {"message_id": key, "company_id": company}, "data": {"x": 1}})
        assert made.json() == {"id": key}
        items = site.read("nested", f"?company_id={company}").json()["items"]
        assert [item["key"] for item in items] == [key]

    # ----------------------------------------------------------------------------------------------- on every answer

    def test_the_request_id_is_echoed_where_it_is_a_plain_word(self, site: Site) -> None:
        for path, method in (("/any", "POST"), ("/silent", "GET")):
            assert site.ask(method, path, b"1", {"X-Request-Id": "order-17/a"}).headers["X-Request-Id"] == "order-17/a"
        made = {
            site.post("any", 1, {"X-Request-Id": bad}).headers["X-Request-Id"] for bad in ("", "two words", "x" * 129)
        }
        assert len(made) == 3
        assert all(len(id_) == 36 for id_ in made)

    def test_a_browser_of_the_declared_origin_is_let_in(self, site: Site) -> None:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        preflight = site.ask("OPTIONS", "/browser", None, asked)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert site.post("browser", 1, {"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
        assert site.ask("POST", "/browser", b"", {"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
        other = site.post("browser", 1, {"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        assert "Access-Control-Allow-Origin" not in site.post("any", 1, {"Origin": ORIGIN}).headers


class ServerScenarios(HttpScenarios):
    """What headgate's own server promises on top. Behind API Gateway it is otherwise: see docs/guide/engines.md."""

    def test_it_says_how_it_is_and_what_it_takes(self, site: Site) -> None:
        assert site.ask("GET", "/-/health").json() == {"status": "ok"}
        assert site.ask("GET", "/-/ready").status == 200
        described = site.ask("GET", "/-/openapi.json").json()
        assert described["openapi"].startswith("3.1")
        assert {channel.path for channel in app.channels} <= described["paths"].keys()

    def test_the_request_id_is_echoed_where_there_is_no_channel_too(self, site: Site) -> None:
        assert site.ask("GET", "/nothing", None, {"X-Request-Id": "order-17/a"}).headers["X-Request-Id"] == "order-17/a"

    def test_a_question_that_is_no_text_is_400(self, site: Site) -> None:
        is_problem(site.read("notes", "?topic=%ff"), 400)

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}], ids=str)
    def test_a_refusal_says_what_is_wrong_with_the_credentials(self, site: Site, headers: dict[str, str]) -> None:
        answer = site.ask("POST", "/nested", b"{}", headers)
        is_problem(answer, 401, "token_malformed" if headers else "no_credentials")
