"""What every room of credentials has to do: a key opens until it is removed; published keys survive an outage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from headgate.engine import ApiKeyRow
from headgate.errors import Unavailable
from headgate.testing.contract import EngineUnderTest

_DAY_S = 24 * 3600
_KEY = {"kty": "oct", "kid": "one"}


class Issuer:
    """Publishes `keys` on a port of this machine, or, with None, answers 500; `asked` counts the requests."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] | None = [_KEY]
        self.asked = 0
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(200 if issuer.keys is not None else 500)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": issuer.keys}).encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


def row(id: str, *, channel: str = "orders", created_ms: int = 1) -> ApiKeyRow:
    """A key as the gate would hand it over."""
    return ApiKeyRow(id, channel, f"key {id}", hashlib.sha256(id.encode()).digest(), created_ms)


class KeysCases:
    """Adopt by subclassing and giving the fixture `engine`."""

    @pytest.fixture
    def engine(self) -> EngineUnderTest:
        raise NotImplementedError("give a fixture `engine` in the class that adopts these cases")

    @pytest.fixture
    def issuer(self) -> Iterator[Issuer]:
        issuer = Issuer()
        thread = Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield issuer
        issuer.server.shutdown()
        thread.join()
        issuer.server.server_close()

    def test_a_key_is_found_by_its_id_alone(self, engine: EngineUnderTest) -> None:
        engine.keys.add_api_key(row("abc"))
        engine.keys.add_api_key(row("abd", channel="events"))
        assert engine.keys.api_key("abc") == row("abc")
        assert engine.keys.api_key("abd") == row("abd", channel="events")
        for unknown in ("", "ab", "ABC", "abc ", "abcd"):
            assert engine.keys.api_key(unknown) is None

    def test_a_removed_key_opens_nothing_from_then_on(self, engine: EngineUnderTest) -> None:
        engine.keys.add_api_key(row("a"))
        engine.keys.add_api_key(row("b"))
        assert engine.keys.remove_api_key("a") is True
        assert engine.keys.api_key("a") is None
        assert engine.keys.api_key("b") == row("b")
        assert engine.keys.remove_api_key("a") is False

    def test_keys_are_listed_oldest_first(self, engine: EngineUnderTest) -> None:
        assert engine.keys.api_keys() == []
        for id_, created_ms in [("b", 2), ("a", 3), ("c", 1)]:
            engine.keys.add_api_key(row(id_, created_ms=created_ms))
        assert [key.id for key in engine.keys.api_keys()] == ["c", "b", "a"]
        engine.keys.remove_api_key("b")
        assert [key.id for key in engine.keys.api_keys()] == ["c", "a"]

    def test_published_keys_are_asked_for_once_and_kept(self, engine: EngineUnderTest, issuer: Issuer) -> None:
        for _ in range(5):
            assert list(engine.keys.jwks(issuer.url, missing=False)) == [_KEY]
        assert issuer.asked == 1
        engine.clock.advance(_DAY_S)
        engine.keys.jwks(issuer.url, missing=False)
        assert issuer.asked == 2

    def test_a_missing_key_id_asks_anew_but_not_for_every_token(self, engine: EngineUnderTest, issuer: Issuer) -> None:
        engine.keys.jwks(issuer.url, missing=False)
        issuer.keys = [_KEY, {"kty": "oct", "kid": "two"}]
        assert len(engine.keys.jwks(issuer.url, missing=True)) == 2
        for _ in range(20):
            engine.keys.jwks(issuer.url, missing=True)
        assert issuer.asked == 2
        engine.clock.advance(_DAY_S)
        engine.keys.jwks(issuer.url, missing=True)
        assert issuer.asked == 3

    def test_the_last_good_keys_outlive_an_outage(self, engine: EngineUnderTest, issuer: Issuer) -> None:
        engine.keys.jwks(issuer.url, missing=False)
        issuer.keys = None
        engine.clock.advance(_DAY_S)
        assert list(engine.keys.jwks(issuer.url, missing=False)) == [_KEY]
        assert list(engine.keys.jwks(issuer.url, missing=True)) == [_KEY]
        issuer.keys = []
        engine.clock.advance(_DAY_S)
        assert list(engine.keys.jwks(issuer.url, missing=False)) == []

    def test_without_any_keys_nothing_is_decided(self, engine: EngineUnderTest, issuer: Issuer) -> None:
        issuer.keys = None
        with pytest.raises(Unavailable):
            engine.keys.jwks(issuer.url, missing=False)
        issuer.keys = [_KEY]
        engine.clock.advance(_DAY_S)
        assert list(engine.keys.jwks(issuer.url, missing=False)) == [_KEY]
