"""The archive as files: written whole, synced, and never over what is not ours."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from headgate.engine import Archive, ArchiveObject
from headgate.errors import Unavailable
from headgate.local.state import sync_folder

log = logging.getLogger("headgate.local")

FOLDER_NAME = "archive"
_PARTS = ".parts"  # no channel's name begins with a dot


class LocalArchive(Archive):
    """Objects under `root`, one folder a channel. The caller holds the state folder that `root` is in.

    A file appears under its name only when all of it is on disk. One call syncs every folder once, however many
    objects it brings.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parts = root / _PARTS
        self._number = itertools.count()
        if self._parts.exists():
            for left in self._parts.iterdir():  # by a process that was killed
                left.unlink()

    def put(self, objects: Sequence[ArchiveObject]) -> list[str | None]:
        """See `Archive.put`."""
        touched: set[Path] = set()
        names = [self._put(item, touched) for item in objects]
        try:
            for folder in touched:
                sync_folder(folder)
        except OSError as error:
            log.error("the archive could not be synced (%s)", _told(error))
            return [None] * len(objects)
        return names

    def get(self, channel: str, name: str) -> bytes | None:
        """See `Archive.get`."""
        try:
            return self._path(channel, name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError:
            raise Unavailable("The archive cannot be read right now. Try again in a moment.", retry_after_s=1) from None

    def delete(self, channel: str, name: str) -> bool:
        """See `Archive.delete`."""
        path = self._path(channel, name)
        try:
            path.unlink()
            sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        return True

    def _path(self, channel: str, name: str) -> Path:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError(f"{name!r} is not the name of an object")
        return self._root.joinpath(channel, *parts)

    def _put(self, item: ArchiveObject, touched: set[Path]) -> str | None:
        try:
            for name in (item.name, f"{item.name}~{item.mark}"):
                if self._keep(item, self._path(item.channel, name), touched):
                    return name
            log.error("an object was not kept: both its names hold other bytes")
        except OSError as error:
            log.error("an object was not kept (%s)", _told(error))
        return None

    def _keep(self, item: ArchiveObject, path: Path, touched: set[Path]) -> bool:
        """False where `path` holds bytes that are not this message's."""
        _make(self._parts, self._root.parent)
        touched.update(_make(path.parent, self._root.parent))
        part = self._parts / f"{os.getpid()}.{next(self._number)}"
        try:
            _write(part, item.body)
            try:
                os.link(part, path)
            except FileExistsError:
                held = path.read_bytes()
                if held not in (item.body, item.replaces):
                    return False
                if held != item.body:
                    part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        touched.add(path.parent)
        return True


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make(folder: Path, within: Path) -> Iterable[Path]:
    """Make a folder and those above it, for its owner alone; which of them have new names in them."""
    missing = list(itertools.takewhile(lambda path: path != within and not path.exists(), [folder, *folder.parents]))
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    return [path.parent for path in missing]


def _told(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")
