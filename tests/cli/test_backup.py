"""headgate backup and restore"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from headgate.local.schema import VERSION
from tests.cli.shell import SECRETS, run, running, until


def test_a_backup_made_while_serving_brings_everything_acknowledged_back(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        acknowledged: list[int] = []
        done = threading.Event()

        def keep_posting() -> None:
            while not done.is_set():
                number = len(acknowledged)
                assert server.post("/notes", f'{{"id": "n-{number}"}}').status == 201
                acknowledged.append(number)

        poster = threading.Thread(target=keep_posting)
        poster.start()
        try:
            until(lambda: len(acknowledged) >= 50 or not poster.is_alive(), "there is something to back up")
            assert poster.is_alive()
            before = len(acknowledged)
            made = run(desk, "backup", "copy.sqlite3")
        finally:
            done.set()
            poster.join()
        assert made.code == 0
        refused = run(desk, "restore", "copy.sqlite3", "--force")
        assert refused.code == 2
        assert f"in use by process {server.process.pid}" in refused.err

    copy = desk / "copy.sqlite3"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in desk.iterdir() if "copy" in path.name} == {"copy.sqlite3"}

    kept = run(desk, "restore", "copy.sqlite3")
    assert kept.code == 2
    assert kept.err.startswith("There is a store already")
    restored = run(desk, "restore", "copy.sqlite3", "--force")
    assert restored.code == 0
    assert replaced_store(desk).exists()
    with running(desk, "serve", env=SECRETS) as server:
        for number in range(before):
            assert server.post("/notes", f'{{"id": "n-{number}"}}').headers["idempotency-replayed"] == "true"
        assert server.post("/notes", '{"id": "n-0", "topic": "other"}').status == 409


def test_the_store_that_was_replaced_is_whole_even_after_a_kill(desk: Path) -> None:
    """Its newest rows are in the log beside it, which is kept with it and does not get into the new store."""
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "early"}').status == 201
        assert run(desk, "backup", "copy.sqlite3").code == 0
        assert server.post("/notes", '{"id": "late"}').status == 201
        server.process.kill()
        server.process.wait()
    assert run(desk, "restore", "copy.sqlite3", "--force").code == 0
    assert "late" not in run(desk, "messages", "list").out
    assert "early" in run(desk, "messages", "list").out
    connection = sqlite3.connect(replaced_store(desk))
    assert {key for (key,) in connection.execute("SELECT key FROM message")} == {"early", "late"}
    connection.close()


def replaced_store(desk: Path) -> Path:
    kept = (desk / ".headgate").glob("messages.sqlite3.replaced-*")
    (store,) = (path for path in kept if not path.name.endswith(("-wal", "-shm")))
    return store


def test_a_backup_never_replaces_a_file(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS):
        pass
    (desk / "mine.txt").write_text("mine")
    done = run(desk, "backup", "mine.txt")
    assert done.code == 2
    assert "exists already" in done.err
    assert (desk / "mine.txt").read_text() == "mine"


def test_a_backup_that_fails_leaves_nothing_behind(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        for number in range(200):
            assert server.post("/notes", f'{{"id": "n-{number}", "topic": "{"x" * 500}"}}').status == 201
    damage(desk / ".headgate" / "messages.sqlite3")
    done = run(desk, "backup", "copy.sqlite3")
    assert done.code == 2
    assert "damaged" in done.err
    assert not [path.name for path in desk.iterdir() if "copy" in path.name]


def damage(store: Path) -> None:
    content = bytearray(store.read_bytes())
    content[8_192:60_000] = b"\xff" * (60_000 - 8_192)
    store.write_bytes(content)


def test_what_is_no_good_backup_is_not_restored(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
    (desk / "text").write_text("not a store, but long enough to be taken for the head of one" * 100)
    (desk / "empty").touch()
    assert run(desk, "backup", "cut").code == 0
    (desk / "cut").write_bytes((desk / "cut").read_bytes()[:20_000])
    for name in ("text", "empty", "cut", "missing"):
        done = run(desk, "restore", name, "--force")
        assert (done.code, done.out) == (2, ""), (name, done)
    assert "n-1" in run(desk, "messages", "list").out
    assert not list((desk / ".headgate").glob("*restor*"))


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TRIGGER gone AFTER INSERT ON message BEGIN DELETE FROM message WHERE seq = new.seq; END",
        "CREATE VIEW seen AS SELECT * FROM message",
        "CREATE TABLE more (a)",
        "DROP TABLE claim",
        "ALTER TABLE message ADD COLUMN more",
        "DROP INDEX message_channel",
    ],
)
def test_what_is_no_store_of_ours_is_not_restored(desk: Path, change: str) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
    assert run(desk, "backup", "copy").code == 0
    execute(desk / "copy", change)
    done = run(desk, "restore", "copy", "--force")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("copy has other tables, indexes or triggers than a headgate store")
    assert "n-1" in run(desk, "messages", "list").out
    left = {path.name for path in (desk / ".headgate").iterdir()}
    assert not [name for name in left if "restoring" in name or "replaced" in name]


def test_another_database_with_our_version_is_not_restored(desk: Path) -> None:
    execute(desk / "other", "CREATE TABLE message (a)", f"PRAGMA user_version = {VERSION}")
    done = run(desk, "restore", "other")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("other has other tables")
    assert not (desk / ".headgate" / "messages.sqlite3").exists()


def test_a_store_that_sqlite_has_counted_is_restored(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
    assert run(desk, "backup", "copy").code == 0
    execute(desk / "copy", "ANALYZE")
    assert run(desk, "restore", "copy", "--force").code == 0


def execute(file: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_store_is_restored_where_there_was_none(desk: Path) -> None:
    with running(desk, "serve", env=SECRETS) as server:
        assert server.post("/notes", '{"id": "n-1"}').status == 201
    assert run(desk, "backup", "copy").code == 0
    assert run(desk, "restore", str(desk / "copy"), "--state", str(desk / "new")).code == 0
    assert "n-1" in run(desk, "messages", "list", "--state", str(desk / "new")).out


def test_where_there_is_no_store_there_is_nothing_to_back_up(desk: Path) -> None:
    done = run(desk, "backup", "copy")
    assert done.code == 2
    assert done.err.startswith("There is nothing to back up")
    assert not (desk / "copy").exists()
