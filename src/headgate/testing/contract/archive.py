"""What every archive has to do: bytes come back as they went in, and nobody writes over another's."""

from __future__ import annotations

from typing import Protocol

import pytest

from headgate.engine import Archive, ArchiveObject
from headgate.testing.contract import CHANNELS

ORDERS, EVENTS = CHANNELS


class ArchiveUnderTest(Protocol):
    """What the fixture `engine` gives: an engine with an empty archive."""

    @property
    def archive(self) -> Archive: ...


def put(archive: Archive, name: str, body: bytes, *, mark: str = "m1", replaces: bytes | None = None) -> str:
    """Keep one object; its name."""
    (kept,) = archive.put([ArchiveObject(ORDERS, name, body, "application/json", mark, replaces)])
    assert kept is not None
    return kept


class ArchiveCases:
    """Cases for `engine.Archive`."""

    @pytest.mark.parametrize(
        "body", [b"", b"{}", b'{"a": 2.10}', '{"\U0001f6b0": 1}'.encode(), bytes(range(256)) * 999]
    )
    def test_bytes_come_back_as_they_went_in(self, engine: ArchiveUnderTest, body: bytes) -> None:
        assert put(engine.archive, "acme/1.json", body) == "acme/1.json"
        assert engine.archive.get(ORDERS, "acme/1.json") == body

    @pytest.mark.parametrize(
        "name", ["%2F", "%2E%2E/x", "a/b/c/d", "100%25", "%D0%BA.json", "a" * 240, "-", "~", "A", "a=1"]
    )
    def test_names_stay_apart(self, engine: ArchiveUnderTest, name: str) -> None:
        assert put(engine.archive, name, b"1") == name
        assert put(engine.archive, "another", b"2") == "another"
        assert engine.archive.get(ORDERS, name) == b"1"

    def test_what_was_never_put_is_absent(self, engine: ArchiveUnderTest) -> None:
        put(engine.archive, "acme/1.json", b"1")
        for name in ("acme/2.json", "acme", "acme/1.json/x"):
            assert engine.archive.get(ORDERS, name) is None
            assert engine.archive.delete(ORDERS, name) is False

    def test_channels_are_apart(self, engine: ArchiveUnderTest) -> None:
        put(engine.archive, "1.json", b"1")
        assert engine.archive.get(EVENTS, "1.json") is None

    def test_the_same_again_changes_nothing(self, engine: ArchiveUnderTest) -> None:
        assert [put(engine.archive, "1.json", b"1") for _ in range(3)] == ["1.json"] * 3
        assert engine.archive.get(ORDERS, "1.json~m1") is None

    def test_another_message_never_writes_over_it(self, engine: ArchiveUnderTest) -> None:
        put(engine.archive, "1.json", b"mine", mark="m1")
        assert [put(engine.archive, "1.json", b"other", mark="m2") for _ in range(2)] == ["1.json~m2"] * 2
        assert engine.archive.get(ORDERS, "1.json") == b"mine"
        assert engine.archive.get(ORDERS, "1.json~m2") == b"other"

    def test_an_edited_message_replaces_its_own_bytes(self, engine: ArchiveUnderTest) -> None:
        put(engine.archive, "1.json", b"wrong")
        assert [put(engine.archive, "1.json", b"right", replaces=b"wrong") for _ in range(2)] == ["1.json"] * 2
        assert engine.archive.get(ORDERS, "1.json") == b"right"

    def test_many_at_once_each_have_their_name(self, engine: ArchiveUnderTest) -> None:
        objects = [
            ArchiveObject(ORDERS, f"c{n % 7}/{n}.json", b"%d" % n, "application/json", str(n)) for n in range(100)
        ]
        assert engine.archive.put(objects) == [item.name for item in objects]
        assert all(engine.archive.get(ORDERS, item.name) == item.body for item in objects)

    def test_what_is_deleted_is_gone_and_its_name_free(self, engine: ArchiveUnderTest) -> None:
        put(engine.archive, "1.json", b"1")
        assert engine.archive.delete(ORDERS, "1.json") is True
        assert engine.archive.get(ORDERS, "1.json") is None
        assert put(engine.archive, "1.json", b"2", mark="m2") == "1.json"
