"""Zips that are the same bytes wherever and whenever they are made of the same files."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_READ, _RUN = 0o100644, 0o100755


class Size(NamedTuple):
    """What a zip takes on its way (`zip_bytes`), and where it is unpacked (`unzipped_bytes`)."""

    zip_bytes: int
    unzipped_bytes: int


def write_zip(files: Mapping[str, Path], target: Path) -> None:
    """Zip `files`, by the name each has in the zip. `target` is whole or not there, whoever else writes it."""
    half = target.with_name(f"{target.name}.{os.getpid()}")
    half.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.create_system = 3  # Unix, also where it is made on Windows
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_RUN if name.endswith(".so") else _READ) << 16
            archive.writestr(entry, files[name].read_bytes())
    half.replace(target)


def files_below(folder: Path) -> dict[str, Path]:
    """Every file in a folder, by its path from there."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(*parts: str | bytes) -> str:
    """One word for all that something is made of."""
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()[:32]


def digest_of(files: Mapping[str, Path]) -> str:
    """One word for the names and the contents of files."""
    return digest(*(part for name in sorted(files) for part in (name, files[name].read_bytes())))


def size_of(zip_: Path) -> Size:
    """How large a zip is, packed and unpacked."""
    with zipfile.ZipFile(zip_) as archive:
        return Size(zip_.stat().st_size, sum(entry.file_size for entry in archive.infolist()))


def has_bytecode(zip_: Path) -> bool:
    """Whether there are `.pyc` files in it: without them a cold start compiles first."""
    with zipfile.ZipFile(zip_) as archive:
        return any(name.endswith(".pyc") for name in archive.namelist())


def heaviest(zip_: Path, most: int = 3) -> list[tuple[str, int]]:
    """What takes most of a layer: packages and their unpacked bytes, the largest first."""
    weights: dict[str, int] = {}
    with zipfile.ZipFile(zip_) as archive:
        for entry in archive.infolist():
            package = entry.filename.split("/")[1]
            weights[package] = weights.get(package, 0) + entry.file_size
    return sorted(weights.items(), key=lambda item: -item[1])[:most]
