"""headgate token"""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from tests.cli.shell import APP, SECRETS, run


def test_a_signed_token_stands_alone_on_stdout(desk: Path) -> None:
    done = run(desk, "token", "orders", "--sub", "ann", "--expires", "30m", "--scope", "a", "--scope", "b", env=SECRETS)
    assert (done.code, done.err) == (0, "")
    claims = jwt.decode(
        done.out.strip(), SECRETS["ORDERS_JWT_SECRET"], algorithms=["HS256"], issuer="desk", audience="orders"
    )
    assert (claims["sub"], claims["scope"]) == ("ann", "a b")
    assert claims["exp"] - claims["iat"] == 30 * 60


def test_the_channel_may_be_said_by_its_path(desk: Path) -> None:
    assert run(desk, "token", "/orders", env=SECRETS).out.count(".") == 2


def test_scopes_that_the_channel_asks_for_are_in_the_token(desk: Path) -> None:
    (desk / "app.py").write_text(APP.replace('audience="orders"', 'audience="orders", scopes=("write",)'))
    token = run(desk, "token", "orders", env=SECRETS).out.strip()
    assert jwt.decode(token, options={"verify_signature": False})["scope"] == "write"


@pytest.mark.parametrize("words", [("token", "orders"), ("send", "orders", "{}", "--url", "http://127.0.0.1:9")])
def test_nothing_is_signed_with_a_secret_that_no_server_would_start_with(desk: Path, words: tuple[str, ...]) -> None:
    done = run(desk, *words, env={"ORDERS_JWT_SECRET": "short"})
    assert (done.code, done.out) == (2, "")
    assert done.err == "Channel /orders: its HS256 secret is shorter than 32 bytes; make a longer one.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["orders"], "ORDERS_JWT_SECRET is not known: set it, or start `headgate dev` once, which makes one up."),
        (["notes"], "/notes is Public: post without a token."),
        (
            ["keyed"],
            "There is no development key for /keyed yet: start `headgate dev` once, which makes one up, "
            "or make one with `headgate keys create keyed` and send it as -H 'X-Api-Key: KEY'.",
        ),
        (["nope"], "There is no channel nope; the app has notes, keyed, orders."),
        (["orders", "--expires", "soon"], "Invalid value for '--expires': 'soon' is not a span of time"),
    ],
)
def test_where_there_is_no_token_it_says_why(desk: Path, words: list[str], sentence: str) -> None:
    done = run(desk, "token", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(sentence)
