"""The archive as files: what another process, a power cut or a hostile key can do to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.engine import ArchiveObject
from headgate.local.archive import LocalArchive
from headgate.testing.contract.archive import ArchiveCases


class Engine:
    """An engine that has an archive alone."""

    def __init__(self, root: Path) -> None:
        self.archive = LocalArchive(root)


class TestArchive(ArchiveCases):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return Engine(tmp_path / "archive")


def an_object(name: str = "1.json") -> ArchiveObject:
    return ArchiveObject("orders", name, b"{}", "application/json", "m1")


def test_an_object_that_cannot_be_kept_leaves_nothing_behind_and_may_be_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    archive = LocalArchive(root)
    root.mkdir()
    (root / "orders").write_text("in the way")
    assert archive.put([an_object()]) == [None]
    (root / "orders").unlink()
    assert archive.put([an_object()]) == ["1.json"]
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["1.json"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    LocalArchive(root).put([an_object()])
    (root / ".parts" / "1.0").write_text("hal")
    LocalArchive(root)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["1.json"]


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    LocalArchive(root).put([an_object("a/b/1.json")])
    assert {path.stat().st_mode & 0o077 for path in [root, *root.rglob("*")]} == {0}


@pytest.mark.parametrize("name", ["../x", "a//b", "/etc/passwd", "", "a/..", "a\0b"])
def test_a_name_that_leads_elsewhere_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of an object"):
        LocalArchive(tmp_path / "archive").get("orders", name)
