"""What a Lambda function needs of other people's packages, and fetching it with uv, for another machine than this."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path
from typing import NamedTuple

from headgate.errors import Misuse

NEEDED_HERE = ("aws-sdk-signers", "jiter", "msgspec", "pydantic", "pyjwt", "uuid-utils")
"""Of headgate's own dependencies, with those of its extras, those that the part which runs in Lambda imports."""

BROUGHT_BY_LAMBDA = ("boto3", "botocore", "s3transfer")
"""In every Python runtime of Lambda, and therefore in no zip."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"""(?: and|;) extra == (?:'cdk'|"cdk")""")
_CLUTTER = ("bin", "RECORD", ".lock", "__pycache__")


class Wanted(NamedTuple):
    """`files` and `requirements` say what to install, `pins` which versions of it, `never` what to leave out."""

    files: tuple[Path, ...]
    requirements: tuple[str, ...]
    pins: str
    never: tuple[str, ...]

    @property
    def described(self) -> str:
        """All of it, as one text: the same text is the same dependencies."""
        contents = [file.read_text() for file in self.files]
        return "\n--\n".join([*contents, *self.requirements, self.pins, *self.never])


def wanted(project: Path) -> Wanted:
    """The dependencies of the project, and of our own part that runs beside it.

    They stand beside the app: in pyproject.toml (with the versions of uv.lock, else of this environment), or in
    requirements.txt (with the versions it says).
    """
    pyproject, plain = project / "pyproject.toml", project / "requirements.txt"
    if _has_dependencies(pyproject):
        pins = _locked(project) if (project / "uv.lock").is_file() else _installed()
        return Wanted((pyproject,), _ours(), pins, ("headgate", *BROUGHT_BY_LAMBDA))
    if plain.is_file():
        return Wanted((plain,), _ours(), "", ("headgate", *BROUGHT_BY_LAMBDA))
    return Wanted((), _ours(), _installed(), ("headgate", *BROUGHT_BY_LAMBDA))


def install(needs: Wanted, python_minor: str, platform: str, folder: Path) -> None:
    """Put ready-made packages for that Python and platform (uv's word for it) into a folder.

    Raises Misuse, with uv's own reason, where one of them cannot be had ready-made.
    """
    with tempfile.TemporaryDirectory() as scratch:
        texts = {
            "requirements.txt": "\n".join(needs.requirements),
            "pins.txt": needs.pins,
            "never.txt": "\n".join(f"{name} ; sys_platform == 'never'" for name in needs.never),
        }
        ours, pins, never = (Path(scratch) / name for name in texts)
        for path in (ours, pins, never):
            path.write_text(texts[path.name] + "\n")
        told = ["pip", "install", "--python", sys.executable, "--target", str(folder), "--no-compile-bytecode"]
        told += ["--python-version", python_minor, "--python-platform", platform, "--only-binary", ":all:"]
        told += ["--no-installer-metadata", "--constraint", str(pins), "--override", str(never)]
        for file in (*needs.files, ours):
            told += ["--requirement", str(file)]
        done = _uv(told, needs.files[0].parent if needs.files else folder.parent)
        if done.returncode:
            raise Misuse(f"The dependencies cannot be had for {platform}: {_reason(done.stderr)}")
    _tidy(folder)


def uv() -> str:
    """Where uv is: the one of the extra `cdk`, else the one on PATH."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        pass
    if found := shutil.which("uv"):
        return found
    raise Misuse("uv, which packs the dependencies, is not installed: `pip install 'headgate[cdk]'`.")


def python_at_hand(minor: str) -> str | None:
    """A Python of that minor version on this machine, for bytecode that only it can write."""
    if minor == "{}.{}".format(*sys.version_info):
        return sys.executable
    told = [uv(), "python", "find", "--no-python-downloads", "--no-project", "--quiet", minor]
    done = subprocess.run(told, capture_output=True, text=True)  # noqa: S603 - our own arguments
    return done.stdout.strip() or None


def _has_dependencies(pyproject: Path) -> bool:
    if not pyproject.is_file():
        return False
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise Misuse(f"{pyproject} is not valid TOML: {error}.") from None
    return "dependencies" in project


def _ours() -> tuple[str, ...]:
    return tuple(_EXTRA.sub("", line) for line in requires("headgate") or () if _normal(line) in NEEDED_HERE)


def _locked(project: Path) -> str:
    told = ["export", "--frozen", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project"]
    told += ["--no-emit-local", "--no-editable", "--all-extras", "--quiet"]
    done = _uv(told, project)
    if done.returncode:
        raise Misuse(f"{project / 'uv.lock'} cannot be read: {_reason(done.stderr)}")
    return done.stdout


def _installed() -> str:
    """The versions of this environment: what was tried here is what is shipped."""
    found = {
        _normal(str(it.name)): it.version
        for it in distributions()
        if it.name and it.version and "+" not in it.version and it.read_text("direct_url.json") is None
    }
    return "\n".join(f"{name}=={version}" for name, version in sorted(found.items()))


def _normal(requirement: str) -> str:
    name = _NAME.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""


def _uv(told: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        # The system's certificates, for networks that open TLS; an older uv knows them as NATIVE_TLS.
        "UV_SYSTEM_CERTS": "true",
        "UV_NATIVE_TLS": "true",
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
    }
    return subprocess.run(  # noqa: S603 - our own arguments
        [uv(), *told, "--no-python-downloads", "--color", "never"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def _reason(stderr: str) -> str:
    """What uv says, without its drawings, in one line."""
    lines = [re.sub(r"^[\s×╰─▶│├·]+|^error: ", "", line).strip() for line in stderr.splitlines()]
    told = [line for line in lines if line and not line.startswith(("warning:", "Using Python", "Resolved"))]
    return " ".join(told) or "uv does not say why."


def _tidy(folder: Path) -> None:
    """Remove what differs from machine to machine: commands with this machine's paths, and the digests of them."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name not in _CLUTTER or (path.name == "bin" and path.parent != folder):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
