"""What headgate answers itself, under /-/, and whose address the log names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.http import behind_proxy
from tests.serving import Served, headgate, log_of, serving

APP = Path(__file__).parent.parent / "crash" / "app.py"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("service") / "state"
    command = headgate("serve", "--app", APP, "--state", state, "--port", "{port}", "--proxy-headers")
    with serving(APP, state, command=command) as served:
        yield served


def control(served: Served, body: bytes, token: str | None = None) -> tuple[int, str]:
    """Asks for a key; status and request id."""
    if token is None:
        token = json.loads((served.state / "holder.json").read_text())["control_token"]
    answer = served.ask("POST", "/-/control/keys", body, {"Authorization": f"Bearer {token}"})
    return answer.status, answer.headers["x-request-id"]


def test_what_is_refused_under_our_own_paths_is_logged_and_counted(served: Served) -> None:
    refused = [
        (served.ask("GET", "/-/nothing", headers={"X-Request-Id": "lost"}).status, "lost"),
        (served.ask("DELETE", "/-/health", headers={"X-Request-Id": "verb"}).status, "verb"),
        control(served, b"{}", token="guessed"),
    ]
    assert [status for status, _ in refused] == [404, 405, 401]
    log = log_of(served.state)
    assert all(f"status={status} count=1 request_id={request_id}" in log for status, request_id in refused)
    assert "guessed" not in log
    metrics = served.ask("GET", "/-/metrics").body.decode()
    assert 'headgate_refused_total{channel="-/",reason="unauthorized",status="401"} 1.0' in metrics


@pytest.mark.parametrize("path", ["/-/health/", "/-/docs/", "/-/control/keys/"])
def test_nobody_is_sent_to_where_the_host_header_says(served: Served, path: str) -> None:
    answer = served.ask("GET", path, headers={"Host": "evil.example"})
    assert answer.status == 404
    assert "location" not in answer.headers


def test_the_way_to_the_docs_stays_on_this_server(served: Served) -> None:
    answer = served.ask("GET", "/-/", headers={"Host": "evil.example"})
    assert (answer.status, answer.headers["location"]) == (307, "/-/docs")


@pytest.mark.parametrize(
    ("path", "status"), [("/-/", 307), ("/-/health", 200), ("/-/docs", 200), ("/-/control/keys", 405), ("/-/no", 404)]
)
def test_a_browser_takes_what_it_is_given_for_what_it_is(served: Served, path: str, status: int) -> None:
    answer = served.ask("GET", path)
    assert (answer.status, answer.headers["x-content-type-options"]) == (status, "nosniff")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"channel": "orders"}', b'{"channel": 1, "name": "x"}', b"\xff"])
def test_a_control_request_that_makes_no_sense_is_400(served: Served, body: bytes) -> None:
    assert control(served, body)[0] == 400


def test_a_key_for_a_channel_that_is_not_there_is_404(served: Served) -> None:
    assert control(served, b'{"channel": "nope", "name": "x"}')[0] == 404


def test_the_log_names_the_sender_that_the_proxy_names(served: Served) -> None:
    served.ask("GET", "/nothing", headers={"X-Request-Id": "plain"})
    served.ask("GET", "/nothing", headers={"X-Request-Id": "proxied", "X-Forwarded-For": "6.6.6.6, 203.0.113.9"})
    served.ask("GET", "/nothing", headers={"X-Request-Id": "forged", "X-Forwarded-For": "x client=1.1.1.1"})
    log = log_of(served.state)
    assert "request_id=plain client=127.0.0.1" in log
    assert "request_id=proxied client=203.0.113.9" in log
    assert "request_id=forged client=127.0.0.1" in log


def test_a_proxy_elsewhere_is_not_believed() -> None:
    assert behind_proxy("198.51.100.7", {b"x-forwarded-for": b"203.0.113.9"}) == "198.51.100.7"
    assert behind_proxy("::1", {b"x-forwarded-for": b"2001:db8::1"}) == "2001:db8::1"
