"""headgate keys"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.shell import SECRETS, Server, run, running


def status(server: Server, key: str) -> int:
    return server.post("/keyed", "{}", {"X-Api-Key": key, "Idempotency-Key": "k"}).status


def test_a_key_opens_a_running_server_at_once_and_revoked_it_closes_it(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        created = run(desk, "keys", "create", "keyed", "--name", "Acme")
        assert created.code == 0
        assert created.out.count("\n") == 1
        key = created.out.strip()
        assert status(server, key) == 201

        (listed,) = json.loads(run(desk, "keys", "list", "--json").out)
        assert (listed["channel"], listed["name"]) == ("keyed", "Acme")
        assert set(listed) == {"id", "channel", "name", "created_at"}
        assert key not in run(desk, "keys", "list").out

        assert run(desk, "keys", "revoke", listed["id"]).code == 0
        assert status(server, key) == 401
        again = run(desk, "keys", "revoke", listed["id"])
        assert (again.code, again.err) == (
            1,
            f"There is no key with the id {listed['id']}; `headgate keys list` shows them.\n",
        )


def test_who_says_the_key_itself_is_told_its_id_and_the_key_is_not_repeated(desk: Path) -> None:
    key = run(desk, "keys", "create", "keyed").out.strip()
    (row,) = json.loads(run(desk, "keys", "list", "--json").out)
    told = run(desk, "keys", "revoke", key)
    assert (told.code, told.err) == (
        2,
        f"That is the key itself; say its ID alone, the part in the middle: {row['id']}.\n",
    )


def test_keys_are_made_without_a_server_too_and_one_that_starts_then_takes_them(desk: Path) -> None:
    key = run(desk, "keys", "create", "/keyed").out.strip()
    revoked = run(desk, "keys", "create", "keyed").out.strip()
    rows = json.loads(run(desk, "keys", "list", "--json").out)
    assert len(rows) == 2
    (id_,) = [row["id"] for row in rows if row["id"] in revoked]
    assert run(desk, "keys", "revoke", id_).code == 0
    with running(desk, "serve", env=SECRETS) as server:
        assert status(server, key) == 201
        assert status(server, revoked) == 401


def test_nobody_changes_keys_over_http_without_the_state_folder(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        for token in ("", "guessed"):
            answer = server.post(
                "/-/control/keys", '{"channel": "keyed", "name": ""}', {"Authorization": f"Bearer {token}"}
            )
            assert answer.status == 401
        assert json.loads(run(desk, "keys", "list", "--json").out) == []


def test_a_proxy_of_the_environment_is_not_shown_the_control_token(desk: Path) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    with running(desk, "serve", env=SECRETS):
        assert run(desk, "keys", "create", "keyed", env=proxy).code == 0


def test_a_channel_without_api_keys_gets_none(desk: Path) -> None:
    done = run(desk, "keys", "create", "orders")
    assert (done.code, done.out) == (2, "")
    assert done.err == "/orders does not take API keys; declare it with auth=ApiKey().\n"


def test_an_id_that_is_none_leads_nowhere(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS):
        for id_ in ("../messages", "a/b", "\x1b[2J", "é"):
            done = run(desk, "keys", "revoke", "--", id_)
            assert done.code == 1
            assert "\x1b" not in done.err


def test_before_anything_was_made_up_there_is_nothing_to_show(desk: Path) -> None:
    done = run(desk, "keys")
    assert (done.code, done.out) == (0, "")
    assert "headgate dev" in done.err
    assert json.loads(run(desk, "keys", "--json").out) == {"secrets": {}, "api_keys": {}}
    assert json.loads(run(desk, "keys", "list", "--json").out) == []
    assert not (desk / ".headgate").exists()
