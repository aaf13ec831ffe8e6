"""Our own list of attacks. Each gets a JSON answer of its own fault, in time, and the next good message is stored."""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.hostile.target import (
    APP,
    JSON,
    SECRETS,
    assert_polite,
    attacked,
    reply,
    request,
    signature,
    still_accepts,
    throw,
    token,
)
from tests.serving import PATIENCE_S, Served, free_port, kill, start

LIMIT = 1024 * 1024
AS_JSON = b"Content-Type: application/json"
GOOD = b'{"record_id": "%s", "amount": 1}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("own_list")) as served:
        yield served


# ----------------------------------------------------------------------------------------- bodies that are not messages

NOT_JSON: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "white space": lambda: b" \t\r\n" * 1000,
    "only spaces up to the limit": lambda: b" " * LIMIT,
    "open arrays": lambda: b"[" * 100_000,
    "open objects": lambda: b'{"a":' * 100_000,
    "open arrays and objects": lambda: b'[{"a":' * 100_000,
    "closed deep arrays": lambda: b"[" * 100_000 + b"]" * 100_000,
    "closed deep objects": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "closed deep arrays and objects": lambda: b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000,
    "one level too deep": lambda: b"[" * 65 + b"]" * 65,
    "only closing brackets": lambda: b"]" * 100_000,
    "an unfinished string of a megabyte": lambda: b'"' + b"a" * (LIMIT - 1),
    "backslashes": lambda: b'"' + b"\\" * 500_001 + b'"',
    "NaN": lambda: b'{"a": NaN}',
    "Infinity": lambda: b'{"a": Infinity}',
    "-Infinity": lambda: b'{"a": -Infinity}',
    "a high surrogate in a value": lambda: rb'{"a": "\ud800"}',
    "a low surrogate in a value": lambda: rb'{"a": "\udc00 there"}',
    "swapped surrogates": lambda: rb'"\udc00\ud800"',
    "a lone surrogate in a name": lambda: rb'{"\ud800": 1}',
    "a surrogate as raw bytes": lambda: b'"\xed\xa0\x80"',
    "overlong UTF-8": lambda: b'"\xc0\xaf"',
    "overlong NUL": lambda: b'"\xc0\x80"',
    "beyond Unicode": lambda: b'"\xf4\x90\x80\x80"',
    "half a character": lambda: b'"\xf0\x9f\x98"',
    "Latin-1": lambda: "é".encode("latin-1").join((b'"', b'"')),
    "a byte order mark": lambda: b'\xef\xbb\xbf{"a": 1}',
    "UTF-16": lambda: '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": lambda: '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": lambda: '{"a": 1}'.encode("utf-32"),
    "a NUL byte before": lambda: b'\x00{"a": 1}',
    "a NUL byte after": lambda: b'{"a": 1}\x00',
    "a NUL byte in a string": lambda: b'"a\x00b"',
    "a newline in a string": lambda: b'"a\nb"',
    "a megabyte of NUL bytes": lambda: bytes(LIMIT),
    "every byte there is": lambda: bytes(range(256)),
    "a vertical tab as space": lambda: b"\x0b1",
    "a no-break space": lambda: b"\xc2\xa01",
    "a trailing comma in an object": lambda: b'{"a": 1,}',
    "a trailing comma in an array": lambda: b"[1,]",
    "two commas": lambda: b"[1,,2]",
    "a line comment": lambda: b'{"a": 1} // or not',
    "a block comment": lambda: b'{"a": /* one */ 1}',
    "single quotes": lambda: b"{'a': 1}",
    "names without quotes": lambda: b"{a: 1}",
    "two texts": lambda: b'{"a": 1}{"a": 1}',
    "lines": lambda: b'{"a": 1}\n{"a": 2}\n',
    "Python": lambda: b'{"a": True, "b": None}',
    "hexadecimal": lambda: b"0x10",
    "a leading zero": lambda: b"012",
    "a leading plus": lambda: b"+1",
    "a bare point": lambda: b"1.",
    "a bare exponent": lambda: b"1e",
    "wide digits": lambda: "１".encode(),
    "a bad escape": lambda: rb'"\x41"',
    "a cut escape": lambda: rb'"\u12"',
    "a name twice": lambda: b'{"a": 1, "a": 1}',
    "a name twice, spelled twice": lambda: rb'{"a": 1, "\u0061": 2}',
    "a name twice, deep inside": lambda: b'[[{"x": {"a": 1, "b": 2, "a": 3}}]]',
    "a name 100,000 times": lambda: b"{" + b",".join([b'"a":1'] * 100_000) + b"}",
    "a form": lambda: b"record_id=A-1&amount=1",
    "XML": lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a zip of zeros": lambda: gzip.compress(bytes(10 * LIMIT)),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_refused_on_every_kind_of_channel(served: Served, name: str) -> None:
    body = NOT_JSON[name]()
    for channel in ("/any", "/orders", "/optional", "/each", "/all"):
        assert_polite(served.ask("POST", channel, body, JSON), 400)
    assert_polite(served.ask("POST", "/jwt", body, {**JSON, "Authorization": f"Bearer {token()}"}), 400)
    assert_polite(served.ask("POST", "/signed", body, {**JSON, "X-Hub-Signature-256": signature(body)}), 400)
    still_accepts(served)


ODD_JSON: dict[str, Callable[[], bytes]] = {
    "null": lambda: b"null",
    "true": lambda: b"true",
    "an empty string": lambda: b'""',
    "an empty array": lambda: b"[]",
    "an empty object": lambda: b"{}",
    "zero": lambda: b"0",
    "minus zero": lambda: b"-0.0",
    "an array of null": lambda: b"[null]",
    "an array of arrays": lambda: b"[[], [[]]]",
    "64 levels": lambda: b"[" * 64 + b"]" * 64,
    "20 digits": lambda: b"12345678901234567890",
    "4,300 digits": lambda: b"9" * 4300,
    "a huge exponent": lambda: b"1e999999999",
    "a tiny exponent": lambda: b"-1E-999999999",
    "a megabyte after the point": lambda: b"0." + b"3" * 1_000_000,
    "a megabyte of escapes": lambda: b'"' + rb"\u0041" * 174_000 + b'"',
    "a megabyte of escaped quotes": lambda: b'"' + rb"\"" * 500_000 + b'"',
    "a megabyte of escaped NULs": lambda: b'"' + rb"\u0000" * 174_000 + b'"',
    "brackets in a string": lambda: b'"' + b"[" * 500_000 + b'"',
    "100,000 fields": lambda: b"{" + b",".join(b'"%x":1' % n for n in range(85_000)) + b"}",
    "100,000 numbers": lambda: b"[" + b"1," * 500_000 + b"1]",
    "an empty name": lambda: b'{"": {"": ""}}',
    "__proto__": lambda: b'{"__proto__": {"admin": true}, "__class__": "str", "$where": "1"}',
    "emoji": lambda: '"👩‍👩‍👧‍👦 e\u0301"'.encode(),
    "a pair of surrogates": lambda: rb'"\ud83d\ude00"',
    "exactly the limit": lambda: b'"' + b"a" * (LIMIT - 2) + b'"',
}


@pytest.mark.parametrize("name", ODD_JSON)
def test_odd_json_is_taken_where_any_json_is_and_is_no_order(served: Served, name: str) -> None:
    body, key = ODD_JSON[name](), name.replace(" ", "-").replace(",", "")
    assert_polite(served.ask("POST", "/any", body, {**JSON, "Idempotency-Key": key}), 201)
    assert b'"body":%b,"error":null}' % body in served.ask("GET", f"/any/{key}").body
    assert_polite(served.ask("POST", "/any", body, {**JSON, "Idempotency-Key": key}), 201)
    assert_polite(served.ask("POST", "/orders", body, JSON), 400)
    assert_polite(served.ask("POST", "/each", body, JSON), 400, 413)
    assert_polite(served.ask("POST", "/all", body, JSON), 400, 413)
    still_accepts(served)


def worked_s(served: Served) -> float:
    """How long a server has been at work, however often it had to wait for a processor."""
    user, system = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_a_megabyte_of_digits_is_decided_at_once(served: Served) -> None:
    before_s = worked_s(served)
    assert_polite(served.ask("POST", "/any", b"7" * 1_000_000, JSON), 201, 400)
    assert_polite(served.ask("POST", "/orders", b'{"record_id": "d", "amount": %s}' % (b"7" * 1_000_000), JSON), 400)
    assert_polite(served.ask("POST", "/orders", b'{"record_id": %s, "amount": 1}' % (b"7" * 1_000_000), JSON), 400)
    assert worked_s(served) - before_s < 30
    still_accepts(served)


def test_more_than_the_limit_is_413_whatever_it_is(served: Served) -> None:
    for size in (LIMIT + 1, 2 * LIMIT, 20 * LIMIT):
        for channel in ("/any", "/orders", "/each", "/shaped"):
            answer = throw(served, request("POST", channel, b"[" * size, AS_JSON))
            assert answer is not None
            assert answer.status == 413
    still_accepts(served)


def test_more_items_than_a_batch_takes_are_413_and_none_is_stored(served: Served) -> None:
    def items(channel: str, size: int) -> bytes:
        return json.dumps([{"record_id": f"{channel}{n}", "amount": n} for n in range(size)]).encode()

    assert_polite(served.ask("POST", "/each", items("many", 5_001), JSON), 413)
    assert_polite(served.ask("POST", "/all", items("many", 101), JSON), 413)
    assert_polite(served.ask("GET", "/each/many0"), 404)
    assert_polite(served.ask("GET", "/all/many0"), 404)
    assert_polite(served.ask("POST", "/each", items("most", 5_000), JSON), 201)
    assert_polite(served.ask("POST", "/each", b"[" + b"1," * 4_999 + b"1]", JSON), 400)
    assert_polite(served.ask("POST", "/each", b"[" + b"[]," * 200_000 + b"[]]", JSON), 413)
    still_accepts(served)


def test_thousands_of_faults_make_no_endless_reply(served: Served) -> None:
    wrong = json.dumps({"record_id": 1.5, "amount": "x", "count": "x", "paid": 0, "customer": 1, "note": []})
    answer = assert_polite(served.ask("POST", "/all", f"[{','.join([wrong] * 100)}]".encode(), JSON), 400)
    assert len(answer.json()["errors"]) == 100
    still_accepts(served)


# ------------------------------------------------------------------------------------------------ tokens and headers


@pytest.mark.parametrize("channel", ["/jwt", "/api-key", "/own", "/orders"])
def test_a_token_of_a_megabyte_is_431(served: Served, channel: str) -> None:
    big = b"Authorization: Bearer " + b"a" * 1_000_000
    assert_polite(throw(served, request("POST", channel, GOOD % b"t", AS_JSON, big)), 431)
    still_accepts(served)


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer " + "a" * 9_000,
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "bearer " + "." * 5_000,
        "Basic dXNlcjpwYXNz",
        "Bearer e30.e30.",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer ...",
        "Bearer \xff\xfe",
        "Bearer hg_000000000000_" + "0" * 32,
        "Bearer " + "W10." * 1_000,
    ],
)
def test_what_is_no_token_is_401_with_a_challenge(served: Served, sent: str) -> None:
    for channel in ("/jwt", "/api-key"):
        line = b"Authorization: " + sent.encode("latin-1")
        answer = assert_polite(throw(served, request("POST", channel, GOOD % b"t", AS_JSON, line)), 401)
        assert "www-authenticate" in answer.headers
    still_accepts(served)


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-%d: a" % n for n in range(5_000)],
        [b"X-Long: " + b"a" * 11_000],
        [b"X-" + b"a" * 11_000 + b": 1"],
        [b"Cookie: a=1"] * 2_000,
    ],
    ids=["many", "long value", "long name", "cookies"],
)
def test_more_headers_than_are_read_are_431(served: Served, headers: list[bytes]) -> None:
    assert_polite(throw(served, request("POST", "/orders", GOOD % b"h", AS_JSON, *headers)), 431)
    still_accepts(served)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "application/jsonp"),
        ("Content-Type", "application/xml, application/json"),
        ("Content-Type", "json"),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "br, gzip"),
        ("Content-Encoding", "x" * 5_000),
    ],
)
def test_what_is_not_declared_as_plain_json_is_415(served: Served, name: str, value: str) -> None:
    for channel in ("/orders", "/any", "/each"):
        assert_polite(served.ask("POST", channel, GOOD % b"c", {**JSON, name: value}), 415)
    still_accepts(served)


def test_a_packed_body_is_refused_before_it_is_unpacked(served: Served) -> None:
    bomb = gzip.compress(bytes(50 * LIMIT))
    assert_polite(served.ask("POST", "/any", bomb, {**JSON, "Content-Encoding": "gzip"}), 415)
    still_accepts(served)


def test_a_charset_does_not_change_how_bytes_are_read(served: Served) -> None:
    latin = '{"name": "é"}'.encode("latin-1")
    for charset in ("latin-1", "iso-8859-1", "utf-16", "no-such-thing", "utf-8"):
        media = {"Content-Type": f"application/json; charset={charset}"}
        assert_polite(served.ask("POST", "/any", latin, media), 400, 415)
    still_accepts(served)


# ------------------------------------------------------------------------------------------------------------ framing


def chunked(*parts: bytes) -> Iterator[bytes]:
    yield request("POST", "/any", b"", AS_JSON, b"Transfer-Encoding: chunked", length=False)
    for part in parts:
        yield b"%x\r\n%b\r\n" % (len(part), part)


def test_a_chunked_body_past_the_limit_is_413_though_it_never_ends(served: Served) -> None:
    assert_polite(throw(served, chunked(*[b"[" * 65_536] * 17)), 413)
    assert_polite(throw(served, chunked(*[b" " * 65_536] * 640)), 413)  # 40 MiB, and still no end
    still_accepts(served)


def test_a_chunked_body_in_tiny_chunks_is_one_body(served: Served) -> None:
    told = assert_polite(throw(served, [*chunked(*[b"%d" % (n % 9 + 1) for n in range(1_000)]), b"0\r\n\r\n"]), 201)
    assert served.ask("GET", f"/any/{told.json()['id']}").json()["body"] == int("123456789" * 111 + "1")
    still_accepts(served)


@pytest.mark.parametrize(
    "part",
    [
        b"zz\r\n",
        b"-1\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"5;" + b"a" * 20_000,
        b"5\r\nhello!!\r\n",
        b"5\nhello\n0\n\n",
        b"0x5\r\nhello\r\n",
    ],
)
def test_a_chunk_that_is_none_is_400(served: Served, part: bytes) -> None:
    assert_polite(throw(served, [*chunked(), part], half_close=True), 400, 431)
    still_accepts(served)


@pytest.mark.parametrize(
    "length",
    ["-1", "1 2", "0x10", "1e3", "many", "", "+5", "9" * 30, "9" * 5_000, "18446744073709551616", "5, 5", "5\x005"],
)
def test_a_length_that_is_no_number_is_refused(served: Served, length: str) -> None:
    data = request("POST", "/any", b"[1,2]", AS_JSON, f"Content-Length: {length}".encode(), length=False)
    assert_polite(throw(served, data), 400, 413)
    still_accepts(served)


def test_a_huge_length_is_413_before_any_of_it_is_read(served: Served) -> None:
    data = request("POST", "/any", b"", AS_JSON, b"Content-Length: 9223372036854775807", length=False)
    assert_polite(throw(served, data), 413)
    still_accepts(served)


def test_a_length_shorter_than_the_body_cuts_the_body_and_the_rest_is_no_request(served: Served) -> None:
    data = request("POST", "/any", b"[1,2]", AS_JSON, b"Content-Length: 2", length=False)
    assert_polite(throw(served, data), 400)
    still_accepts(served)


def test_a_length_longer_than_the_body_is_400_when_the_sender_stops(served: Served) -> None:
    for channel in ("/any", "/jwt", "/signed"):
        data = request("POST", channel, b'{"a": 1}', AS_JSON, b"Content-Length: 100", length=False)
        assert_polite(throw(served, data, half_close=True), 400, 401)
    still_accepts(served)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer-Encoding:\x0bchunked",),
        (b"Content-Length: 5\r\n folded",),
        (b"Content-Length : 5",),
        (b" Content-Length: 5",),
        (b"X-Nul: a\x00b",),
        (b"X-Bare: a\rContent-Length: 5",),
        (b"No colon",),
        (b": no name",),
        (b"H\xc3\xa4der: 1",),
        (b"Host: twice",),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read_at_all(served: Served, lines: tuple[bytes, ...]) -> None:
    smuggled = b"0\r\n\r\n" + request("POST", "/any", b'"smuggled"', AS_JSON, b"Idempotency-Key: smuggled")
    data = request("POST", "/any", smuggled, AS_JSON, *lines, length=False)
    assert_polite(throw(served, data, half_close=True), 400)
    assert served.ask("GET", "/any/smuggled").status == 404
    still_accepts(served)


def test_a_sender_that_asks_first_is_told_to_continue_or_refused(served: Served) -> None:
    head = request("POST", "/any", b"", AS_JSON, b"Expect: 100-continue", b"Content-Length: 5", length=False)
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as sock:
        sock.sendall(head)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"[1,2]")
        assert_polite(reply(sock), 201)
    head = request("POST", "/jwt", b"", AS_JSON, b"Expect: 100-continue", b"Content-Length: 5", length=False)
    assert_polite(throw(served, head), 401)
    data = request("POST", "/any", b"[1,2]", AS_JSON, b"Expect: the unexpected")
    assert_polite(throw(served, data))
    still_accepts(served)


def test_requests_of_every_kind_on_one_connection_are_answered_in_order(served: Served) -> None:
    wanted = [
        (request("POST", "/orders", GOOD % b"in-order", AS_JSON), 201),
        (request("POST", "/orders", b"{", AS_JSON), 400),
        (request("GET", "/-/health", length=False), 200),
        (request("POST", "/jwt", b"1", AS_JSON), 401),
        (request("GET", "/orders/in-order", length=False), 200),
        (request("POST", "/orders", b"[" * (LIMIT + 1), AS_JSON), 413),
        (request("GET", "/nowhere", length=False), 404),
        (b"".join(chunked(b"[1", b",2]")) + b"0\r\n\r\n", 201),
        (request("POST", "/own", GOOD % b"in-order", AS_JSON, b"X-Name: someone"), 201),
        (request("PUT", "/orders", b"{}", AS_JSON), 405),
    ]
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as sock:
        sender = threading.Thread(target=sock.sendall, args=(b"".join(data for data, _ in wanted) * 3,))
        sender.start()
        replies = sock.makefile("rb")
        statuses = []
        for _ in range(3 * len(wanted)):
            statuses.append(int(replies.readline().split()[1]))
            length = 0
            while (line := replies.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            json.loads(replies.read(length))
        sender.join()
    assert statuses == [status for _, status in wanted] * 3
    still_accepts(served)


# ----------------------------------------------------------------------------------------------- targets and methods


@pytest.mark.parametrize(
    ("target", "statuses"),
    [
        ("//orders", (404,)),
        ("/orders/", (404, 405)),
        ("/orders//", (404,)),
        ("/orders/../any", (404,)),
        ("/./orders", (404,)),
        ("/%2e%2e/orders", (404,)),
        ("/orders/%2e%2e%2fany", (404, 405)),
        ("/orders/%2e%2e/%2e%2e/etc/passwd", (404,)),
        ("/orders%00", (404,)),
        ("/orders/%00", (404, 405)),
        ("/orders/%ff", (404, 405)),
        ("/orders/%", (404, 405)),
        ("/orders/%zz%1", (404, 405)),
        ("/orders/%ed%a0%80", (404, 405)),
        ("/%6frders", (404,)),
        ("/ORDERS", (404,)),
        ("/orders;a=1", (404,)),
        ("/orders%3Fx", (404,)),
        ("/orders#here", (400,)),
        ("/-/nothing", (404,)),
        ("/-/../orders", (404,)),
        ("/-/assets/../../pyproject.toml", (404,)),
        ("/-/assets/%2e%2e%2f%2e%2e%2fserver.py", (404,)),
        ("/-/assets/%00", (404,)),
        ("/-/control/messages/delete", (401, 405)),
        ("/-/control/keys/%00", (401, 405)),
        ("*", (400, 404, 405)),
        ("orders", (400,)),
        ("http://elsewhere/nothing", (404,)),
        ("ftp://elsewhere/", (400, 404)),
        ("http://[::1", (400,)),
        ("/" + "a" * 8_000, (404,)),
        ("/" + "a" * 9_000, (414,)),
        ("/" + "a" * 1_000_000, (414,)),
        ("/" + "/" * 8_000, (404,)),
        ("/orders?" + "customer=1&" * 700, (400, 405)),
        ("/orders?customer=" + "%" * 5_000, (200, 400, 405)),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_targets_that_lead_nowhere(served: Served, target: str, statuses: tuple[int, ...]) -> None:
    for method in ("GET", "DELETE") if not target.startswith("/-/") else ("GET",):
        data = request(method, target, b"", b"Connection: close", length=False)
        assert_polite(throw(served, data), *statuses, *((405,) if method == "DELETE" else ()))
    still_accepts(served)


def test_a_raw_byte_in_a_target_is_not_taken(served: Served) -> None:
    for byte in (b"\x00", b"\x01", b"\x7f", b"\xff", b"\xc0\xaf", b"\t", b" a", b"\xed\xa0\x80"):
        data = b"GET /orders/" + byte + b" HTTP/1.1\r\nHost: here\r\n\r\n"
        assert_polite(throw(served, data), 400, 404)
    still_accepts(served)


def test_a_target_may_name_the_whole_address(served: Served) -> None:
    data = request("POST", "http://elsewhere:99/any", b"1", AS_JSON, b"Idempotency-Key: absolute")
    assert_polite(throw(served, data), 201)
    assert served.ask("GET", "/any/absolute").json()["body"] == 1
    still_accepts(served)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "PROPFIND", "QUERY", "PURGE"])
def test_a_method_that_is_not_taken_is_405_and_says_which_are(served: Served, method: str) -> None:
    for target in ("/orders", "/any", "/jwt", "/orders/a-key"):
        answer = assert_polite(throw(served, request(method, target, b"{}", AS_JSON)), 400, 405)
        assert answer.status == 400 or answer.headers["allow"]
        assert b"a-key" not in answer.body
    still_accepts(served)


@pytest.mark.parametrize("method", ["CONNECT", "get", "G E T", "BREW", "\x00", "X" * 5_000, "PRI"])
def test_a_method_that_nobody_knows_is_refused(served: Served, method: str) -> None:
    assert_polite(throw(served, request(method, "/orders", b"{}", AS_JSON)), 400, 405, 501)
    still_accepts(served)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: here\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\r\n" * 10 + b"hello\r\n\r\n",
        b"\x00" * 20_000,
        b"\n" * 100_000 + b"x",
    ],
    ids=["TLS", "HTTP/2", "HTTP/0.9", "HTTP/3", "no version", "no host", "a reply", "SSH", "words", "NULs", "newlines"],
)
def test_other_protocols_are_refused(served: Served, data: bytes) -> None:
    assert_polite(throw(served, data, half_close=True), 400, 431)
    still_accepts(served)


def test_http_1_0_is_answered_and_closed(served: Served) -> None:
    body = GOOD % b"one-point-zero"
    data = b"POST /orders HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert_polite(throw(served, data), 201)
    assert_polite(throw(served, b"POST /orders HTTP/1.0\r\n\r\n"), 400)
    still_accepts(served)


def test_queries_that_ask_for_too_much_or_for_nothing_are_400(served: Served) -> None:
    for query in (
        "", "customer", "customer=a&customer=b", "customer=a&note=b", "other=1", "limit=5", "customer=a&limit=0",
        "customer=a&limit=101", "customer=a&limit=-1", "customer=a&limit=1e1", "customer=a&limit=" + "9" * 5_000,
        "customer=a&limit=%D9%A1", "customer=a&cursor=", "customer=a&cursor=e30", "customer=a&cursor=" + "W" * 7_000,
        "customer=a&cursor=%00", "customer=a&cursor=WyJjdXN0b21lciIsImEiLCItMSJd", "customer=%ff", "&" * 5_000,
        "customer=a&cursor=" + "W1tb" * 1_500,
    ):  # fmt: skip
        data = request("GET", f"/orders?{query}", b"", length=False)
        answer = assert_polite(throw(served, data), *((200,) if query == "customer" else ()), 400)
        assert answer.status == 400 or answer.json() == {"items": [], "cursor": None}
    still_accepts(served)


# ------------------------------------------------------------------------------------------ senders that do not stay


def hang_up_hard(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_sender_that_hangs_up_right_after_sending_has_its_message_stored(served: Served) -> None:
    keys = [f"gone-{n}" for n in range(50)]
    for key in keys:
        with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as sock:
            sock.sendall(request("POST", "/orders", GOOD % key.encode(), AS_JSON))
    until_s = time.monotonic() + PATIENCE_S
    while (missing := [key for key in keys if served.ask("GET", f"/orders/{key}").status != 200]) and (
        time.monotonic() < until_s
    ):
        time.sleep(0.02)
    assert missing == []
    still_accepts(served)


def test_senders_that_hang_up_amid_a_request_leave_nothing_behind(served: Served) -> None:
    data = request("POST", "/orders", GOOD % b"halfway", AS_JSON)
    for cut in range(1, len(data)):
        sock = socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S)
        sock.sendall(data[:cut])
        sock.close() if cut % 2 else hang_up_hard(sock)
    with suppress(ConnectionResetError):
        assert served.ask("GET", "/orders/halfway").status == 404
    still_accepts(served)


def test_senders_that_reset_after_a_whole_request_leave_all_of_it_or_nothing(served: Served) -> None:
    for n in range(50):
        sock = socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S)
        sock.sendall(request("POST", "/orders", GOOD % b"reset-%d" % n, AS_JSON))
        hang_up_hard(sock)
    for n in range(50):
        body = GOOD % b"reset-%d" % n
        while (answer := served.ask("POST", "/orders", body, JSON)).status == 409 and b"in_progress" in answer.body:
            pass  # the first one is not on the disk yet
        assert assert_polite(answer, 201).json() == {"id": f"reset-{n}"}
    still_accepts(served)


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same server, which has less patience within `hurry`."""
    state, port = tmp_path_factory.mktemp("hurried") / "state", free_port()
    launch = [sys.executable, str(Path(__file__).with_name("hurried.py"))]
    served = start(APP, state, port, command=[*launch, str(APP), str(state), str(port)], env=SECRETS)
    yield served
    kill(served)


@contextmanager
def hurry(hurried: Served) -> Iterator[Callable[[], None]]:
    """From when it is called."""
    sign = hurried.state.with_name("hurry")
    try:
        yield sign.touch
    finally:
        sign.unlink()


@pytest.mark.parametrize(
    "data",
    [
        b"P",
        b"POST /orders HTTP/1.1\r\nHost: here\r\nX-Slow: ",
        request("POST", "/orders", b'{"record_id": ', AS_JSON, b"Content-Length: 1000", length=False),
        request("POST", "/signed", b"", AS_JSON, b"Content-Length: 1000", length=False),
        b"".join(chunked(b"[")) + b"5\r\n1",
    ],
    ids=["method", "header", "body", "signed body", "chunk"],
)
def test_a_sender_that_stops_halfway_gets_408_in_time(hurried: Served, data: bytes) -> None:
    with hurry(hurried) as begin:

        def stops() -> Iterator[bytes]:
            yield data
            begin()

        assert_polite(throw(hurried, stops()), 408)
    still_accepts(hurried)


def test_a_sender_that_drips_gets_408_in_time(hurried: Served) -> None:
    with hurry(hurried) as begin:

        def drip() -> Iterator[bytes]:
            yield request("POST", "/orders", b"", AS_JSON, b"Content-Length: 100000", length=False)
            begin()
            until_s = time.monotonic() + 4
            while time.monotonic() < until_s:
                yield b" "
                time.sleep(0.02)

        assert_polite(throw(hurried, drip()), 408)
    still_accepts(hurried)


def test_a_silent_connection_is_closed_and_a_hundred_of_them_hinder_nobody(hurried: Served) -> None:
    socks = [socket.create_connection(("127.0.0.1", hurried.port), timeout=PATIENCE_S) for _ in range(100)]
    still_accepts(hurried)
    with hurry(hurried) as begin:
        begin()
        assert all(reply(sock) is None for sock in socks)
    for sock in socks:
        sock.close()
    still_accepts(hurried)
