"""Faults that published intakes have: none of them may come back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cases import absent, command
from tests.hostile.clumsy import ESCAPES, ODD_REPLIES
from tests.hostile.target import (
    APP,
    JSON,
    SECRETS,
    assert_clean,
    assert_polite,
    attacked,
    json_bytes,
    request,
    still_accepts,
    throw,
    token,
)
from tests.serving import PATIENCE_S, Served, headgate, log_of, serving

CLUMSY = Path(__file__).with_name("clumsy.py")
MARKER = "xyzzy4711"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("faults")) as served:
        yield served


@pytest.fixture(scope="module")
def clumsy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("clumsy"), CLUMSY) as served:
        yield served


def as_sender(subject: str, **headers: str) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {token(subject)}", **{k.replace("_", "-"): v for k, v in headers.items()}}


# ------------------------------------------------------------------------------------------------------ exceptions


def test_no_reply_shows_the_text_of_an_exception(clumsy: Served) -> None:
    bad = {"id": "1", "text": MARKER}
    failing = [
        clumsy.post("/validator", bad),
        clumsy.post("/verifier", bad, {"Authorization": f"Bearer {MARKER}"}),
        clumsy.post("/problem", bad),
    ]
    for answer in failing:
        assert answer.status == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        for text in (MARKER, "KeyError", "LookupError", "Traceback", "clumsy.py"):
            assert text not in answer.body.decode()
    one_by_one = clumsy.post("/validators", [bad])
    assert one_by_one.status == 503
    assert one_by_one.json() == {"items": [{"index": 0, "key": None, "status": "unavailable", "errors": []}]}
    still_accepts(clumsy)


def test_an_accepted_function_that_fails_does_not_unsay_a_stored_message(clumsy: Served) -> None:
    for replayed in (None, "true"):
        answer = clumsy.post("/accepted", {"id": MARKER})
        assert (answer.status, answer.json()) == (201, {"id": MARKER})
        assert answer.headers.get("idempotency-replayed") == replayed
    assert clumsy.ask("GET", f"/accepted/{MARKER}").json()["body"] == {"id": MARKER}


def test_a_problem_function_that_fails_still_tells_the_sender_what_is_wrong(clumsy: Served) -> None:
    told = assert_polite(clumsy.post("/problem", {"id": 1}), 400).json()
    assert [fault["pointer"] for fault in told["errors"]] == ["/id", "/text"]


@pytest.mark.parametrize("channel", [name for name in ODD_REPLIES if name != "nothing"])
def test_a_reply_that_cannot_be_sent_gives_way_to_the_plain_one(clumsy: Served, channel: str) -> None:
    for _ in range(2):
        answer = clumsy.post(f"/{channel}", {"id": "odd"})
        assert (answer.status, answer.json()) == (201, {"id": "odd"})
        assert "set-cookie" not in answer.headers
    told = assert_polite(clumsy.ask("POST", f"/{channel}", b"{", JSON), 400)
    assert "set-cookie" not in told.headers
    still_accepts(clumsy)


def test_a_function_that_answers_nothing_answers_null(clumsy: Served) -> None:
    assert clumsy.post("/nothing", {"id": "odd"}).json() is None
    assert clumsy.ask("POST", "/nothing", b"{", JSON).status == 400


@pytest.mark.parametrize("channel", ["/refused-in-two-lines", "/refused-beyond-latin", "/refused-in-bytes"])
def test_a_refusal_that_cannot_be_sent_lets_nobody_in_and_is_ours(clumsy: Served, channel: str) -> None:
    answer = clumsy.post(channel, {})
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers
    still_accepts(clumsy)


@pytest.mark.parametrize("escaping", [error.__name__ for error in ESCAPES])
def test_nothing_that_a_function_raises_gets_further_than_its_request(clumsy: Served, escaping: str) -> None:
    for channel in (f"/verifier-{escaping}", f"/async-verifier-{escaping}"):
        answer = clumsy.post(channel, {})
        assert answer.status == 500
        assert escaping not in answer.body.decode()
    stored = clumsy.post(f"/accepted-{escaping}", {"id": "escaped"})
    assert (stored.status, stored.json()) == (201, {"id": "escaped"})
    assert_polite(clumsy.ask("POST", f"/accepted-{escaping}", b"{", JSON), 400)
    still_accepts(clumsy)


def test_a_validator_that_ends_the_process_does_not(clumsy: Served) -> None:
    assert clumsy.post("/validator-SystemExit", {"id": "1"}).status == 500
    still_accepts(clumsy)


def test_one_odd_reply_keeps_nobody_else_waiting(clumsy: Served) -> None:
    channels = ["/orders", *(f"/{name}" for name in ODD_REPLIES)] * 8

    def post(number: int) -> int:
        message = {"id": f"beside-{number}", "record_id": f"beside-{number}"}
        return clumsy.post(channels[number], message).status

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(post, range(len(channels)))) == {201}


# ------------------------------------------------------------------------------------------------------ the full disk


def mounting(disk: Path, size: str, first: str = "true") -> list[str]:
    """What stands before a command for which a small disk is mounted; `first` is done on it before."""
    unshare = [command("unshare"), "-m"] if os.geteuid() == 0 else [command("unshare"), "-rm"]
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && {{ {first}; exec "$@"; }}'
    mount = [*unshare, "sh", "-c", script, str(disk)]
    if subprocess.run([*mount, "true"], capture_output=True, timeout=PATIENCE_S, check=False).returncode:
        absent("a disk cannot be mounted here")
    return mount


@contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[Served, Path]]:
    """A server whose state lies on a disk of 8 MiB of its own, gone with it; and that disk as seen from here."""
    disk = folder / "disk"
    disk.mkdir()
    mount = mounting(disk, "8m")
    with serving(APP, disk / "state", before=mount, env=SECRETS) as served:
        yield served, Path(f"/proc/{served.process.pid}/root") / disk.relative_to("/")


def fill(file: Path) -> None:
    """Write until nothing fits any more."""
    with file.open("wb", buffering=0) as filler:
        for size in (64 * 1024, 4096):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def order(key: str) -> dict[str, object]:
    return {"record_id": key, "amount": 1, "text": MARKER * 5_000}


def test_a_full_disk_is_503_and_nothing_more_and_heals_without_a_restart(tmp_path: Path) -> None:
    with on_a_small_disk(tmp_path) as (served, disk):
        holder = json.loads((disk / "state" / "holder.json").read_text())
        stored = []
        for number in range(5):
            assert served.post("/orders", order(f"before-{number}")).status == 201
            stored.append(f"before-{number}")
        fill(disk / "filler")
        refused = []
        for number in range(300):
            answer = served.post("/orders", order(f"during-{number}"))
            if answer.status == 201:  # the log had room left
                stored.append(f"during-{number}")
                continue
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            refused.append(f"during-{number}")
            if len(refused) == 20:
                break
        assert len(refused) == 20
        batch = [order(f"item-{number}") for number in range(20)]
        each = served.post("/each", batch)
        assert (each.status, {item["status"] for item in each.json()["items"]}) == (503, {"unavailable"})
        assert served.post("/all", batch).status == 503
        assert served.ask("GET", "/-/health").status == 200
        assert served.ask("GET", "/-/ready").status == 503
        for key in stored:
            assert served.ask("GET", f"/orders/{key}").json()["body"] == order(key)
        for key in refused:
            assert served.ask("GET", f"/orders/{key}").status == 404
        assert served.ask("POST", "/orders", b"{", JSON).status == 400  # the sender's faults stay the sender's

        (disk / "filler").unlink()
        again = [served.post("/orders", order(key)) for key in refused]
        assert [answer.status for answer in again] == [201] * len(refused)
        assert not any("idempotency-replayed" in answer.headers for answer in again)
        assert {item["status"] for item in served.post("/each", batch).json()["items"]} == {"stored"}
        assert {item["status"] for item in served.post("/all", batch).json()["items"]} == {"stored"}
        assert served.ask("GET", "/-/ready").status == 200
        for key in [*stored, *refused]:
            assert served.ask("GET", f"/orders/{key}").json()["body"] == order(key)
        assert json.loads((disk / "state" / "holder.json").read_text()) == holder, "it was started anew"
        assert served.process.poll() is None
    said = log_of(served.state)
    assert "the disk is full" in said
    assert MARKER not in said
    assert_clean(said)


def test_what_does_not_fit_on_a_full_disk_is_told_by_its_name_and_leaves_nothing_behind(tmp_path: Path) -> None:
    store, disk = tmp_path / "state", tmp_path / "disk"
    with serving(APP, store, env=SECRETS) as served:
        for number in range(20):
            assert served.post("/orders", order(f"before-{number}")).status == 201
    disk.mkdir()
    ours = 'mkdir -m 700 "$0/state" && touch "$0/state/lock" && echo "*" > "$0/state/.gitignore"'
    full = mounting(disk, "64k", f'{ours}; cat /dev/zero > "$0/filler" 2>/dev/null')

    def typed(*words: str | Path) -> tuple[int, str, list[str]]:
        """The exit code, what is said, and what is on the disk then."""
        then = ["sh", "-c", '"$@"; code=$?; ls -A "$0" "$0/state"; exit $code', str(disk)]
        done = subprocess.run(
            [*full, *then, *headgate(*words)],
            env={**os.environ, **SECRETS}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr, sorted(done.stdout.split())

    left = sorted([f"{disk}:", "filler", "state", f"{disk}/state:", ".gitignore", "lock"])
    copy, holder = disk / "copy.sqlite3", disk / "state" / "holder.json"
    backup = typed("backup", copy, "--app", APP, "--state", store)
    assert backup == (1, f"There is no room left on the disk of {copy}.\n", left)
    serve = typed("serve", APP, "--port", "0", "--state", disk / "state")
    assert serve == (1, f"There is no room left on the disk of {holder}.\n", left)


# ------------------------------------------------------------------------------------------------------------- twins


def test_a_good_message_is_never_overwritten(served: Served) -> None:
    first = b'{"record_id": "kept", "amount": 2.10, "note": "first"}'
    assert served.ask("POST", "/orders", first, JSON).status == 201
    for twin, status in [
        (b'{"record_id": "kept", "amount": 2.1, "note": "first"}', 409),
        (b'{"record_id": "kept", "amount": 2.10, "note": "second"}', 409),
        (b'{"record_id": "kept", "amount": "bad"}', 400),
        (b'{"record_id": "kept"}', 400),
        (b'{"record_id": "kept", ', 400),
        (b'{"note": "first","amount":2.10,"record_id":"kept"}', 201),
    ]:
        assert_polite(served.ask("POST", "/orders", twin, JSON), status)
        assert b'"body":%b,' % first in served.ask("GET", "/orders/kept").body
    still_accepts(served)


def test_neither_is_one_of_a_batch(served: Served) -> None:
    first = {"record_id": "a", "amount": 1}
    assert served.post("/each", [first]).status == 201
    others = [{"record_id": "a", "amount": 2}, {"record_id": "a", "amount": "bad"}, {"record_id": "b", "amount": 1}]
    items = assert_polite(served.post("/each", others), 201).json()["items"]
    assert [item["status"] for item in items] == ["conflict", "invalid", "stored"]
    assert served.ask("GET", "/each/a").json()["body"] == first


# ------------------------------------------------------------------------------------------------------------ values


def test_true_and_null_in_a_valid_body_are_taken_and_come_back(served: Served) -> None:
    sent = {"record_id": "values", "amount": 1, "paid": True, "count": None, "customer": None}
    assert served.post("/orders", sent).status == 201
    assert served.ask("GET", "/orders/values").json()["body"] == sent
    anything = {"a": [True, False, None], "b": {"c": None}}
    key = served.post("/any", anything).json()["id"]
    assert served.ask("GET", f"/any/{key}").json()["body"] == anything


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", True), ("amount", False), ("amount", "1"), ("amount", None), ("count", True), ("count", 1.5),
        ("count", "1"), ("paid", 1), ("paid", 0), ("paid", "true"), ("customer", 1), ("customer", True),
        ("record_id", True), ("record_id", None), ("record_id", 1), ("record_id", ["a"]), ("record_id", {}),
    ],
)  # fmt: skip
def test_a_value_of_one_kind_is_not_taken_for_another(served: Served, field: str, value: object) -> None:
    wrong = {"record_id": "kind", "amount": 1, field: value}
    for channel, body, pointer in (("/orders", wrong, f"/{field}"), ("/all", [wrong], f"/0/{field}")):
        told = assert_polite(served.post(channel, body), 400).json()
        assert [fault["pointer"] for fault in told["errors"]] == [pointer]


def test_numbers_come_back_with_every_digit(served: Served) -> None:
    for text in (b"2.10", b"1e2", b"12345678901234567890", b"0.1000000000000000055511151231257827", b"-0.0", b"1E+2"):
        body = b'{"record_id": "number-%b", "amount": %b}' % (text, text)
        assert served.ask("POST", "/orders", body, JSON).status == 201
        assert b'"body":%b,' % body in served.ask("GET", f"/orders/number-{text.decode()}").body


def test_a_time_without_a_zone_gets_none_made_up(served: Served) -> None:
    naive = "2026-01-24T18:04:01"
    assert_polite(served.post("/orders", {"record_id": "naive", "amount": 1, "placed_at": naive}), 400)
    for number, text in enumerate((naive, "2026-01-24 18:04:01", "2026-01-24T18:04:01+05:30", "2026-01-24T18:04:01Z")):
        sent = {"record_id": f"time-{number}", "amount": 1, "local_time": text}
        assert served.post("/orders", sent).status == 201
        assert served.ask("GET", f"/orders/time-{number}").json()["body"] == sent


@pytest.mark.parametrize(
    "body", [b"", b" ", b"\r\n", b"null", None], ids=["none", "space", "newline", "null", "absent"]
)
def test_no_body_is_400_and_not_taken_for_an_empty_object(served: Served, body: bytes | None) -> None:
    for channel in ("/optional", "/orders", "/each", "/all", "/shaped"):
        answer = served.ask("POST", channel, body, JSON)
        assert answer.status == 400
        assert b"Error" not in answer.body
    if body != b"null":
        assert_polite(served.ask("POST", "/any", body, JSON), 400)
    assert_polite(served.ask("POST", "/optional", b"{}", JSON), 201)


def test_a_request_without_body_length_and_type_is_400(served: Served) -> None:
    for channel in ("/optional", "/orders", "/each", "/any"):
        assert_polite(throw(served, request("POST", channel, length=False)), 400)
    still_accepts(served)


# ----------------------------------------------------------------------------------------------------------- batches


def test_a_batch_with_a_bad_item_is_never_half_stored_and_then_failed(served: Served) -> None:
    good = [{"record_id": f"half-{number}", "amount": 1} for number in range(5)]
    wrong = ({"record_id": "half-bad", "amount": True}, {"record_id": "", "amount": 1})
    items_that_are_none: list[object] = [None, True, [], {}, "x", *wrong]
    for bad in items_that_are_none:
        assert_polite(served.post("/all", [*good, bad]), 400)
        assert all(served.ask("GET", f"/all/half-{number}").status == 404 for number in range(5))
    assert_polite(served.ask("POST", "/all", json_bytes(good)[:-1] + b", {]", JSON), 400)
    items = assert_polite(served.post("/each", [*good, None, True, {"record_id": 1}]), 201).json()["items"]
    assert [item["status"] for item in items] == ["stored"] * 5 + ["invalid"] * 3
    assert all(served.ask("GET", f"/each/half-{number}").status == 200 for number in range(5))


# --------------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    "key", ["", "a" * 256, "é" * 128, "a\x00b", "a\nb", "\t", "\x1b[31m", "a\x7f", "\x85", "\u009b0m"], ids=ascii
)
def test_an_id_that_could_not_be_kept_is_refused(served: Served, key: str) -> None:
    told = assert_polite(served.post("/orders", {"record_id": key, "amount": 1}), 400).json()
    assert [fault["pointer"] for fault in told["errors"]] == ["/record_id"]
    items = assert_polite(served.post("/each", [{"record_id": key, "amount": 1}]), 400).json()["items"]
    assert items[0]["errors"][0]["pointer"] == "/0/record_id"


def test_two_messages_in_one_millisecond_stay_two(served: Served) -> None:
    async def post(number: int) -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        one = request("POST", "/any", b'{"customer": "quick"}', b"Content-Type: application/json")
        writer.write(one * 50)  # pipelined: faster than any clock
        ids = []
        for _ in range(50):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            assert head.startswith(b"HTTP/1.1 201 ")
            length = int(re.findall(rb"content-length: (\d+)", head)[0])
            ids.append(json.loads(await reader.readexactly(length))["id"])
        writer.close()
        return ids

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(post(number) for number in range(40)))

    ids = [id_ for some in asyncio.run(all_of_them()) for id_ in some]
    assert len(set(ids)) == 2_000
    found: set[str] = set()
    cursor = ""
    for _ in range(30):
        page = served.ask("GET", f"/any?customer=quick&limit=100{cursor}").json()
        found.update(item["key"] for item in page["items"])
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert found == set(ids)


# ------------------------------------------------------------------------------------------------------- credentials


def test_a_token_that_never_expires_is_refused(served: Served) -> None:
    for wrong in ({"exp": None}, {"exp": 0}, {"exp": int(time.time()) - 1}, {"exp": "never"}, {"exp": 10**400}):
        opener = {**JSON, "Authorization": f"Bearer {token(**wrong)}"}
        assert_polite(served.ask("POST", "/jwt", b"1", opener), 401)
    assert_polite(served.ask("POST", "/jwt", b"1", as_sender("someone")), 201)


def test_one_idempotency_key_of_two_senders_names_two_messages(served: Served) -> None:
    for subject in ("alice", "bob"):
        sent = served.ask("POST", "/jwt", json_bytes({"from": subject}), as_sender(subject, Idempotency_Key="same"))
        assert (sent.status, "idempotency-replayed" in sent.headers) == (201, False)
    for subject in ("alice", "bob"):
        read = served.ask("GET", "/jwt/same", headers=as_sender(subject))
        assert read.json()["body"] == {"from": subject}
        again = served.ask("POST", "/jwt", json_bytes({"from": subject}), as_sender(subject, Idempotency_Key="same"))
        assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
        other = served.ask("POST", "/jwt", json_bytes({"from": "else"}), as_sender(subject, Idempotency_Key="same"))
        assert other.status == 409
    assert served.ask("GET", "/jwt/same", headers=as_sender("mallory")).status == 404


# --------------------------------------------------------------------------------------------------------------- log


def test_neither_a_body_nor_a_token_is_in_the_log(served: Served, clumsy: Served) -> None:
    good = {"record_id": f"key-{MARKER}", "amount": 1, "customer": MARKER, "note": MARKER}
    secret = token(MARKER)
    opener = {"Authorization": f"Bearer {secret}"}
    for channel in ("/orders", "/shaped", "/own", "/api-key", "/signed", "/jwt", "/throttled", "/nowhere"):
        for message in (good, {**good, "amount": MARKER}, {**good, "amount": 2}, [MARKER], MARKER, {MARKER: MARKER}):
            served.post(channel, message, opener)
        served.ask("POST", channel, f'{{"{MARKER}": '.encode(), {**JSON, **opener})
        served.ask("POST", channel, MARKER.encode(), {**opener, "Content-Type": f"text/{MARKER}"})
        served.ask("POST", channel, f'"{MARKER * 150_000}"'.encode(), {**JSON, **opener})
        served.ask("PUT", channel, MARKER.encode(), {**JSON, **opener})
        served.ask("GET", f"{channel}/{MARKER}?{MARKER}={MARKER}", headers=opener)
        served.ask("GET", f"{channel}?customer={MARKER}&cursor={MARKER}", headers=opener)
        for header in ("Idempotency-Key", "X-Api-Key", "X-Name", "traceparent", "Authorization", "X-Hub-Signature-256"):
            served.post(channel, good, {**opener, header: f"{MARKER}\x7f" if header == "traceparent" else MARKER})
    for many in ("/each", "/all"):
        served.post(many, [good, {**good, "amount": MARKER}, {**good, "amount": 2}, MARKER], opener)
    throw(served, f"GET /{MARKER} HTTP/1.1\r\nX-{MARKER}: {MARKER}\x00\r\n\r\n".encode())
    for channel in ("/validator", "/validators", "/verifier", "/accepted", "/problem", "/jwt"):
        for odd in ({"id": MARKER, "text": MARKER}, [{"id": MARKER, "text": MARKER}], {"id": [MARKER]}):
            clumsy.post(channel, odd, opener)
    for server in (served, clumsy):
        still_accepts(server)
        said = log_of(server.state)
        assert "reason=" in said
        assert MARKER not in said
        assert secret not in said
        assert_clean(said)
    failed = log_of(clumsy.state)
    for where in ("known KeyError", "doorman LookupError", "fails_to_answer ValueError"):
        assert f"clumsy.py:{where}" in re.sub(r"clumsy\.py:\d+ ", "clumsy.py:", failed), where
