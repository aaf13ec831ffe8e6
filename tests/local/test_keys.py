"""API keys that last, and published keys that are fetched seldom and from the right place."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.engine import ApiKeyRow
from headgate.errors import Unavailable
from headgate.local.keys import SCHEMA, LocalKeys, load_keys
from tests.issuer import Issuer, issuing, jwk, rsa_key
from tests.serving import PATIENCE_S

ROW = ApiKeyRow("abcdefghijkl", "orders", "till 1", b"\0" * 32, 1_000)
OTHER = ApiKeyRow("lkjihgfedcba", "events", "till 2", b"\1" * 32, 500)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(tmp_path / "keys.sqlite3")
    made.executescript(SCHEMA)
    yield made
    made.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        running.keys = [jwk(rsa_key(), kid="first")]
        yield running


def opened(connection: sqlite3.Connection, clock: ManualClock | None = None) -> LocalKeys:
    def change(carry_out: Callable[[sqlite3.Connection], None]) -> None:
        with connection:
            carry_out(connection)

    return LocalKeys(load_keys(connection), change, clock or ManualClock())


def fetching(clock: ManualClock) -> LocalKeys:
    """Keys whose API keys nobody changes."""

    def change(_: Callable[[sqlite3.Connection], None]) -> None:
        raise Unavailable

    return LocalKeys([], change, clock)


def ids(keys: LocalKeys, issuer: Issuer, *, missing: bool = False) -> list[str]:
    return [key["kid"] for key in keys.jwks(issuer.url, missing=missing)]


def test_an_api_key_is_there_at_once_and_after_a_restart(connection: sqlite3.Connection) -> None:
    keys = opened(connection)
    assert keys.api_key(ROW.id) is None
    keys.add_api_key(ROW)
    assert keys.api_key(ROW.id) == ROW
    assert opened(connection).api_key(ROW.id) == ROW


def test_a_removed_api_key_is_gone_at_once_and_after_a_restart(connection: sqlite3.Connection) -> None:
    keys = opened(connection)
    keys.add_api_key(ROW)
    assert keys.remove_api_key(ROW.id)
    assert keys.api_key(ROW.id) is None
    assert opened(connection).api_key(ROW.id) is None
    assert not keys.remove_api_key(ROW.id)


def test_api_keys_are_listed_oldest_first(connection: sqlite3.Connection) -> None:
    keys = opened(connection)
    keys.add_api_key(ROW)
    keys.add_api_key(OTHER)
    assert keys.api_keys() == [OTHER, ROW]
    assert opened(connection).api_keys() == [OTHER, ROW]


def test_a_change_that_is_not_durable_has_not_happened() -> None:
    def change(_: Callable[[sqlite3.Connection], None]) -> None:
        raise Unavailable

    keys = LocalKeys([ROW], change, ManualClock())
    with pytest.raises(Unavailable):
        keys.add_api_key(OTHER)
    assert keys.api_key(OTHER.id) is None
    with pytest.raises(Unavailable):
        keys.remove_api_key(ROW.id)
    assert keys.api_key(ROW.id) == ROW


def test_an_issuer_that_lets_everybody_wait_is_left_alone_for_a_while_after_that() -> None:
    clock = ManualClock()
    asked: list[int] = []

    def take_time() -> None:
        with suppress(OSError):
            while True:
                sender, _ = server.accept()
                asked.append(clock.now_ms())
                clock.advance(5)
                sender.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=take_time, daemon=True).start()
        keys = fetching(clock)
        for _ in range(3):
            with pytest.raises(Unavailable):
                keys.jwks(f"http://127.0.0.1:{server.getsockname()[1]}/", missing=False)
        assert len(asked) == 1
        server.shutdown(socket.SHUT_RDWR)


def test_published_keys_are_kept_for_ten_minutes(issuer: Issuer) -> None:
    clock = ManualClock()
    keys = fetching(clock)
    assert ids(keys, issuer) == ["first"]
    issuer.keys = [jwk(rsa_key(), kid="second")]
    clock.advance(599.9)
    assert ids(keys, issuer) == ["first"]
    assert issuer.asked == 1
    clock.advance(0.1)
    assert ids(keys, issuer) == ["second"]
    assert issuer.asked == 2


def test_a_missing_key_id_is_asked_for_at_most_once_a_minute(issuer: Issuer) -> None:
    clock = ManualClock()
    keys = fetching(clock)
    ids(keys, issuer)
    issuer.keys = [jwk(rsa_key(), kid="second")]
    assert ids(keys, issuer, missing=True) == ["second"]
    issuer.keys = [jwk(rsa_key(), kid="third")]
    for _ in range(5):
        assert ids(keys, issuer, missing=True) == ["second"]
    clock.advance(59.9)
    assert ids(keys, issuer, missing=True) == ["second"]
    assert issuer.asked == 2
    clock.advance(0.1)
    assert ids(keys, issuer, missing=True) == ["third"]
    assert issuer.asked == 3


def test_a_jump_of_the_wall_clock_fetches_nothing(issuer: Issuer) -> None:
    clock = ManualClock()
    keys = fetching(clock)
    ids(keys, issuer)
    clock.jump(86_400)
    ids(keys, issuer)
    clock.jump(-2 * 86_400)
    ids(keys, issuer)
    assert issuer.asked == 1


def test_the_last_good_keys_stay_in_use_and_one_line_says_so(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    keys = fetching(clock)
    ids(keys, issuer)
    issuer.status, issuer.content = 500, b"an inner secret"
    clock.advance(600)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ids(keys, issuer) == ["first"]
            assert ids(keys, issuer, missing=True) == ["first"]
    assert issuer.asked == 2
    assert len(caplog.records) == 1
    assert "last good ones stay in use" in caplog.text
    assert "inner secret" not in caplog.text
    issuer.status, issuer.content, issuer.keys = 200, None, [jwk(rsa_key(), kid="second")]
    clock.advance(59.9)
    assert ids(keys, issuer) == ["first"]
    clock.advance(0.1)
    assert ids(keys, issuer) == ["second"]


def test_without_any_keys_it_is_unavailable_and_tried_every_five_seconds(issuer: Issuer) -> None:
    clock = ManualClock()
    keys = fetching(clock)
    issuer.status = 503
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            ids(keys, issuer)
        assert caught.value.retry_after_s == 5
    clock.advance(4.9)
    with pytest.raises(Unavailable):
        ids(keys, issuer, missing=True)
    assert issuer.asked == 1
    issuer.status = 200
    clock.advance(0.1)
    assert ids(keys, issuer) == ["first"]
    assert issuer.asked == 2


DEEP = b'{"keys": ' + b"[" * 100_000


@pytest.mark.parametrize(
    "content",
    [b"", b"keys", b"[]", b"null", b'{"keys": {}}', b'{"keys": null}', b"{}", b"\xff", b"<html>", DEEP],
    ids=lambda content: repr(content[:12]),
)
def test_an_answer_that_is_no_set_of_keys_is_a_failure(issuer: Issuer, content: bytes) -> None:
    issuer.content = content
    with pytest.raises(Unavailable):
        ids(fetching(ManualClock()), issuer)


def test_what_is_no_key_in_a_set_is_left_out(issuer: Issuer) -> None:
    issuer.keys = [7, None, "key", ["key"], {"kid": "first"}]
    assert ids(fetching(ManualClock()), issuer) == ["first"]


def test_an_answer_of_one_mebibyte_is_read_and_a_longer_one_is_not(issuer: Issuer) -> None:
    document = json.dumps({"keys": [{"kid": "first"}]}).encode()
    issuer.content = document.ljust(1024 * 1024)
    assert ids(fetching(ManualClock()), issuer) == ["first"]
    issuer.content += b" "
    with pytest.raises(Unavailable):
        ids(fetching(ManualClock()), issuer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(issuer: Issuer, status: int) -> None:
    with issuing() as elsewhere:
        elsewhere.keys = [jwk(rsa_key("stranger"), kid="stranger")]
        issuer.status, issuer.headers = status, {"Location": elsewhere.url}
        with pytest.raises(Unavailable):
            ids(fetching(ManualClock()), issuer)
        assert elsewhere.asked == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/jwks.json",
        "http://127.0.0.1.example.com/jwks.json",
        "file:///etc/passwd",
        "ftp://127.0.0.1/jwks.json",
        "data:application/json,{}",
        "https://",
        "https://user:word@127.0.0.1/",
        "https://127.0.0.1:port/",
        "http://[::1/",
        "http://127.0.0.1/ HTTP/1.1\r\nX: y",
        "",
    ],
)
def test_a_place_that_is_not_safe_is_never_asked(url: str) -> None:
    with pytest.raises(Unavailable):
        fetching(ManualClock()).jwks(url, missing=False)


@pytest.mark.parametrize("host", ["127.1", "user@127.0.0.1"])
def test_a_spelling_that_could_hide_another_machine_is_never_asked(issuer: Issuer, host: str) -> None:
    with pytest.raises(Unavailable):
        fetching(ManualClock()).jwks(issuer.url.replace("127.0.0.1", host), missing=False)
    assert issuer.asked == 0


def test_on_this_machine_no_proxy_is_asked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    with issuing() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert ids(fetching(ManualClock()), issuer) == ["first"]
        assert proxy.asked == 0


def test_a_port_that_nobody_listens_on_is_a_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/jwks.json"
        with pytest.raises(Unavailable):
            fetching(ManualClock()).jwks(url, missing=False)


@pytest.mark.parametrize("missing", [False, True])
def test_threads_that_need_the_same_keys_fetch_them_once(issuer: Issuer, missing: bool) -> None:
    keys = fetching(ManualClock())
    if missing:
        ids(keys, issuer)
    before = issuer.asked
    issuer.keys = [jwk(rsa_key(), kid="second")]
    issuer.held.clear()
    started = threading.Barrier(9)

    def ask(_: int) -> list[str]:
        started.wait(PATIENCE_S)
        return ids(keys, issuer, missing=missing)

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(ask, range(8))
        started.wait(PATIENCE_S)
        issuer.held.set()
        assert list(answers) == [["second"]] * 8
    assert issuer.asked == before + 1


def test_while_keys_are_fetched_anew_the_fresh_ones_are_given_without_waiting(issuer: Issuer) -> None:
    keys = fetching(ManualClock())
    ids(keys, issuer)
    issuer.held.clear()
    issuer.reached.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ids, keys, issuer, missing=True)
        assert issuer.reached.wait(PATIENCE_S)
        assert ids(keys, issuer) == ["first"]
        assert not asking.done()
        issuer.held.set()
        assert asking.result(PATIENCE_S) == ["first"]


def test_an_answer_that_takes_more_than_five_seconds_comes_too_late(issuer: Issuer) -> None:
    clock = ManualClock()
    issuer.held.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ids, fetching(clock), issuer)
        assert issuer.reached.wait(PATIENCE_S)
        clock.advance(5.1)
        issuer.held.set()
        with pytest.raises(Unavailable):
            asking.result(PATIENCE_S)
