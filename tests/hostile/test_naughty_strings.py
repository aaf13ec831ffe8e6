"""The big list of naughty strings, everywhere a sender may put a string."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.cases import cases_folder
from tests.hostile.target import APP, JSON, assert_clean, assert_polite, attacked, is_key, json_bytes, request, throw
from tests.serving import PATIENCE_S, Answer, Served, headgate, log_of

NAUGHTY: list[str] = json.loads((cases_folder() / "naughty_strings.json").read_text(encoding="utf-8"))
KEYS = sorted({text for text in NAUGHTY if is_key(text)})
_WORD = re.compile(r"[\x21-\x7e]{1,128}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("naughty")) as served:
        yield served


def get(served: Served, target: str) -> Answer:
    return served.ask("GET", target)


def in_url(text: str) -> str:
    return quote(text, safe="")


def in_header(text: str) -> bytes | None:
    """The bytes of a header's value, or None where HTTP cannot carry them."""
    value = text.strip(" \t").encode()
    return None if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value) else value


def test_there_are_enough_of_them() -> None:
    assert len(NAUGHTY) == 515
    assert len(KEYS) > 400


def test_as_text_fields_and_indexed_values_they_come_back_and_are_found(served: Served) -> None:
    for number, text in enumerate(NAUGHTY):
        order = {"record_id": f"text-{number}", "amount": 1, "customer": text, "note": text[::-1]}
        stored = assert_polite(served.post("/orders", order), 201, 400)
        assert stored.status == (201 if len(text.encode()) <= 1024 else 400)
        if stored.status == 201:
            assert get(served, f"/orders/text-{number}").json()["body"] == order
    for number, text in enumerate(NAUGHTY):
        found = assert_polite(get(served, f"/orders?customer={in_url(text)}&limit=100"), 200).json()["items"]
        assert all(item["body"]["customer"] == text for item in found)
        same = {f"text-{n}" for n, other in enumerate(NAUGHTY) if other == text and 0 < len(text.encode()) <= 1024}
        assert {item["key"] for item in found} == same, number


def test_as_keys_they_name_one_message_each(served: Served) -> None:
    for text in NAUGHTY:
        order = {"record_id": text, "amount": 1, "note": "as a key"}
        stored = assert_polite(served.post("/orders", order), 201 if is_key(text) else 400)
        if stored.status == 201:
            assert stored.json() == {"id": text}
    for text in KEYS:
        read = assert_polite(get(served, f"/orders/{in_url(text)}"), 200).json()
        assert (read["key"], read["body"]["record_id"]) == (text, text)


def test_as_names_of_fields_they_come_back_and_may_be_named_in_no_fault(served: Served) -> None:
    for text in NAUGHTY:
        stored = assert_polite(served.post("/any", {text: {text: [text]}}), 201)
        assert get(served, f"/any/{stored.json()['id']}").json()["body"] == {text: {text: [text]}}
        assert_polite(served.post("/orders", {text: text}), 400)


def test_as_items_of_batches_they_are_judged_one_by_one(served: Served) -> None:
    batch = [{"record_id": text, "amount": number, "customer": "batch"} for number, text in enumerate(KEYS)]
    items = assert_polite(served.post("/each", batch), 201).json()["items"]
    assert [(item["key"], item["status"]) for item in items] == [(text, "stored") for text in KEYS]
    again = assert_polite(served.post("/each", [{**order, "amount": -1} for order in batch]), 409).json()["items"]
    assert {item["status"] for item in again} == {"conflict"}


def test_in_place_of_values_they_are_faults_not_failures(served: Served) -> None:
    for text in NAUGHTY:
        wrong = {"record_id": "x", "amount": text, "count": text, "paid": text, "placed_at": text}
        told = assert_polite(served.post("/orders", wrong), 400).json()
        assert {fault["pointer"] for fault in told["errors"]} >= {"/amount", "/count", "/paid"}


def test_as_bodies_they_are_json_or_refused(served: Served) -> None:
    for text in NAUGHTY:
        stored = assert_polite(served.ask("POST", "/any", text.encode(), JSON), 201, 400)
        if stored.status == 201:
            json.loads(text)
        assert_polite(served.ask("POST", "/orders", text.encode(), JSON), 400)


def test_as_idempotency_keys_they_name_one_message_each(served: Served) -> None:
    for text in NAUGHTY:
        value = in_header(text)
        header = b"Idempotency-Key: " + (text.encode() if value is None else value)
        data = request("POST", "/any", json_bytes(text), b"Content-Type: application/json", header)
        allowed = value is not None and is_key(value.decode())
        stored = assert_polite(throw(served, data), *((201,) if allowed else (201, 400)))
        if allowed and value is not None:
            assert stored.json() == {"id": value.decode()}
            read = get(served, f"/any/{in_url(value.decode())}").json()["body"]
            assert read.strip(" \t") == value.decode()


@pytest.mark.parametrize(
    "name",
    [
        "X-Request-Id", "traceparent", "Authorization", "X-Api-Key", "X-Name", "X-Hub-Signature-256", "Content-Type",
        "Content-Encoding", "Content-Length", "Transfer-Encoding", "Expect", "Connection", "Host", "Origin", "Cookie",
        "User-Agent", "X-Forwarded-For", "Accept", "Upgrade",
    ],
)  # fmt: skip
def test_in_other_headers_they_are_heeded_refused_or_passed_over(served: Served, name: str) -> None:
    channel = {"Authorization": "/jwt", "X-Api-Key": "/api-key", "X-Name": "/own", "X-Hub-Signature-256": "/signed"}
    body = b'{"record_id": "header", "amount": 1}'
    for text in NAUGHTY:
        header = f"{name}: ".encode() + text.encode()
        data = request("POST", channel.get(name, "/orders"), body, header, length=name != "Content-Length")
        answer = assert_polite(throw(served, data, half_close=True))
        if name == "X-Request-Id" and answer.status == 201:
            value = text.strip(" \t")
            assert (answer.headers["x-request-id"] == value) == bool(_WORD.fullmatch(value))


def test_as_queries_and_cursors_they_find_nothing_or_are_refused(served: Served) -> None:
    for text in NAUGHTY:
        name = in_url(text)
        assert_polite(get(served, f"/orders?customer=a&cursor={name}"), 400)
        assert_polite(get(served, f"/orders?customer=a&limit={name}"), 200, 400)
        assert_polite(get(served, f"/orders?{name}=a"), 200, 400)
        assert_polite(get(served, f"/orders?{name}"), 200, 400)


def test_as_paths_they_lead_nowhere(served: Served) -> None:
    for text in NAUGHTY:
        name = in_url(text)
        assert_polite(get(served, f"/{name}"), 404, 405)
        assert_polite(get(served, f"/{name}/orders"), 404)
        assert_polite(get(served, f"/jwt/{name}"), 401, 404, 405)
        assert_polite(get(served, f"/-/assets/{name}"), 404)
        raw = re.sub(rb"[\x00-\x20\x7f]", b"", text.encode())
        assert_polite(throw(served, b"GET /orders/" + raw + b" HTTP/1.1\r\nHost: here\r\n\r\n"), 200, 400, 404, 405)


def listed(served: Served, *options: str) -> Iterator[str]:
    """What `headgate messages list` prints, page by page."""
    cursor: str | None = None
    line = headgate("messages", "list", "orders", "--limit", "100", "--app", APP, "--state", served.state, *options)
    for _ in range(50):
        more = ["--cursor", cursor] if cursor else []
        done = subprocess.run(
            [*line, *more], capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE_S, check=True
        )
        assert_clean(done.stderr)
        yield done.stdout
        found = re.search(r"--cursor (\d+)", done.stderr)
        cursor = json.loads(done.stdout)["cursor"] if options else found and found[1]
        if cursor is None:
            return


def test_afterwards_the_log_is_clean_and_the_command_line_shows_every_message(served: Served) -> None:
    for text in KEYS:
        order = {"record_id": text, "amount": 1, "note": "as a key"}
        assert served.post("/orders", order).status == 201
    assert_clean(log_of(served.state))
    pages = list(listed(served, "--json"))
    assert {item["key"] for page in pages for item in json.loads(page)["items"]} >= set(KEYS)
    for page in pages:
        assert_clean(page)
    table = list(listed(served))
    for page in table:
        assert_clean(page)
    rows = sum(len(page.splitlines()) - 1 for page in table)
    assert rows == sum(len(json.loads(page)["items"]) for page in pages)


def test_the_command_line_shows_one_by_its_key(served: Served) -> None:
    for text in (text for text in KEYS if not text.startswith("-")):
        assert served.post("/orders", {"record_id": text, "amount": 1, "note": "as a key"}).status == 201
    for text in [text for text in KEYS if not text.startswith("-")][::100]:
        line = headgate("messages", "show", "orders", text, "--app", APP, "--state", served.state, "--json")
        done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE_S, check=True)
        assert json.loads(done.stdout)["body"]["record_id"] == text
        assert_clean(done.stdout + done.stderr)
