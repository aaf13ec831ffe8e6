"""Browser assets that are part of the package: fetched from npm once, kept here, never loaded from afar.

    tools/vendor_assets.py                    fetch again what the VERSION files name; the same bytes result
    tools/vendor_assets.py --check            compare what lies there with the VERSION files; needs no network
    tools/vendor_assets.py swagger-ui 5.35.0  move to another version

Each folder has a VERSION file: package, version, npm's integrity of the package, SHA-256 of each file kept.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ASSETS = Path(__file__).parent.parent / "src" / "headgate" / "local" / "assets"


class Vendored(NamedTuple):
    """What is kept of an npm package."""

    package: str
    files: tuple[str, ...]


VENDORED = {
    "swagger-ui": Vendored(
        "swagger-ui-dist",
        ("LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"),
    ),
}


class Pinned(NamedTuple):
    """A VERSION file."""

    package: str
    version: str
    integrity: str
    sha256: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Pinned:
        """The VERSION file of a folder."""
        words = [line.split() for line in (folder / "VERSION").read_text().splitlines()]
        said = {name: value for name, value, *more in words if not more}
        sha256 = {name: value for kind, value, *more in words if kind == "sha256" for name in more}
        return cls(said["package"], said["version"], said["integrity"], sha256)

    def text(self) -> str:
        """As it is written."""
        hashes = "".join(f"sha256 {value} {name}\n" for name, value in sorted(self.sha256.items()))
        return f"package {self.package}\nversion {self.version}\nintegrity {self.integrity}\n{hashes}"


def fetch(package: str, version: str, into: Path) -> Path:
    """The package's tar file."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(into), f"{package}@{version}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (tar,) = into.glob("*.tgz")
    return tar


def integrity_of(tar: Path) -> str:
    """As npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(tar.read_bytes()).digest()).decode()


def contents(tar: Path, files: tuple[str, ...]) -> dict[str, bytes]:
    """The files kept, read from the tar file."""
    with tarfile.open(tar) as archive:
        members = {name: archive.extractfile(f"package/{name}") for name in files}
        return {name: member.read() for name, member in members.items() if member is not None}


def sha256_of(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def vendor(name: str, version: str, integrity: str | None) -> None:
    """Write a folder anew; `integrity`, where it is known, has to be that of the package fetched."""
    package, files = VENDORED[name]
    with tempfile.TemporaryDirectory() as scratch:
        tar = fetch(package, version, Path(scratch))
        fetched = integrity_of(tar)
        if integrity not in (None, fetched):
            raise SystemExit(f"{package}@{version}: the integrity is {fetched}, not {integrity}.")
        kept = contents(tar, files)
    folder = ASSETS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in kept.items():
        (folder / file).write_bytes(content)
    sha256 = {file: sha256_of(content) for file, content in kept.items()}
    (folder / "VERSION").write_text(Pinned(package, version, fetched, sha256).text())


def faults(name: str) -> list[str]:
    """What is not as the folder's VERSION file says."""
    folder = ASSETS / name
    pinned = Pinned.read(folder)
    there = {file.name: sha256_of(file.read_bytes()) for file in folder.iterdir() if file.name != "VERSION"}
    return [
        f"{name}/{file} {'was changed' if file in pinned.sha256.keys() & there else 'is missing or surplus'}"
        for file in sorted(there.keys() | pinned.sha256.keys())
        if there.get(file) != pinned.sha256.get(file)
    ]


def main(words: list[str]) -> None:
    """See the top of the file."""
    match words:
        case ["--check"]:
            if found := [fault for name in VENDORED for fault in faults(name)]:
                raise SystemExit("\n".join(found))
        case []:
            for name in VENDORED:
                pinned = Pinned.read(ASSETS / name)
                vendor(name, pinned.version, pinned.integrity)
        case [name, version] if name in VENDORED:
            vendor(name, version, None)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
