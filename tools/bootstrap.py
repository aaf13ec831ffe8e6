"""Makes .venv from a bare Python: exactly what uv.lock names, installed by uv.

uv is fetched where there is none on PATH. That takes the standard library alone, neither pip nor ensurepip,
which the python3 of Debian comes without. Where .venv is as it should be, nothing is done or said.
"""

import sys

# Read by older Pythons too: nothing below this may be newer syntax than 3.6 has.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"headgate needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}: "
        "name another one, as in `make PYTHON=python3.12 run`."
    )

import argparse
import hashlib
import http.client
import io
import json
import os
import platform
import re
import shutil
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "uv.lock"
TOOLKIT_LOCK = ROOT / "src" / "headgate" / "cdk" / "assets" / "toolkit" / "package-lock.json"
VENV = ROOT / ".venv"
MADE = VENV / "made.json"
TOOLS = ROOT / ".tools"

OLDEST_UV = (0, 8)  # seen to install from our lock file
DOWNLOAD_TIMEOUT_S = 60
PAUSES_S = (3, 15)
"""What could not be fetched is tried again after each."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make .venv as uv.lock names it.")
    parser.add_argument("--group", action="append", default=[], help="a dependency group besides dev")
    asked = parser.parse_args().group

    made = last_made()
    groups = sorted({*asked, *made.get("groups", [])})
    wanted = {"digest": digest(), "folder": str(ROOT), "groups": groups}
    if made == wanted and is_whole():
        return
    if made.get("folder", str(ROOT)) != str(ROOT):
        shutil.rmtree(VENV)  # its scripts name the folder they were made in
    started = time.monotonic()
    sync(usable_uv() or fetched_uv(), groups)
    install_toolkit()
    MADE.write_text(json.dumps(wanted))
    say(f".venv is ready ({time.monotonic() - started:.0f} s).")


def last_made() -> dict[str, Any]:
    try:
        return dict(json.loads(MADE.read_text()))
    except (OSError, ValueError):
        return {}


def digest() -> str:
    """Of all that .venv is made from, this Python's version included."""
    parts = [
        LOCK.read_bytes(),
        TOOLKIT_LOCK.read_bytes(),
        (ROOT / "pyproject.toml").read_bytes(),
        repr(sys.version_info[:2]).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_whole() -> bool:
    """False also where the Python that .venv points to has gone."""
    return (VENV / "bin" / "python").exists() and (VENV / "bin" / "headgate").exists()


def sync(uv: str, groups: list[str]) -> None:
    environment = {
        # The system's certificates, for networks that open TLS; an older uv knows them as NATIVE_TLS.
        "UV_SYSTEM_CERTS": "true",
        "UV_NATIVE_TLS": "true",
        "UV_HTTP_TIMEOUT": "120",
        **os.environ,
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    command = [uv, "sync", "--frozen", "--all-extras", "--quiet"]
    command += [f"--group={group}" for group in groups]
    say("Making .venv from uv.lock ...")
    if not any(subprocess.run(command, cwd=ROOT, env=environment).returncode == 0 for _ in tries()):
        sys.exit("uv could not make .venv; its reason stands above.")


def install_toolkit() -> None:
    """The CDK CLI, into the user's cache: what does without it goes on where npm's registry cannot be reached."""
    imports = "from headgate.cdk.toolkit import installed; from headgate.cli import told"
    program = f"{imports}; told(lambda: installed() and 0)"  # which says what is wrong in one sentence
    for _ in tries():
        done = subprocess.run([VENV / "bin" / "python", "-c", program], stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return
        why = (done.stderr.strip().splitlines() or ["it does not say why."])[-1]
        if not why.startswith("aws-cdk "):  # it was not npm that failed
            break
    say(f"The CDK CLI could not be installed: {why}")
    say("All but deploying to AWS works without it; `headgate deploy` tries to install it again.")


def usable_uv() -> str | None:
    """The uv on PATH, unless it is too old."""
    uv = shutil.which("uv")
    if uv is None:
        return None
    told = subprocess.run([uv, "--version"], capture_output=True, text=True).stdout
    version = re.match(r"uv (\d+)\.(\d+)", told)
    return uv if version and tuple(map(int, version.groups())) >= OLDEST_UV else None


def fetched_uv() -> str:
    """The uv of uv.lock: fetched once, and only with the digest that stands there."""
    locked = tomllib.loads(LOCK.read_text())["package"]
    package = next(package for package in locked if package["name"] == "uv")
    name = f"uv-{package['version']}"
    uv = TOOLS / name
    if uv.exists():
        return str(uv)
    say(f"Fetching uv {package['version']} ...")
    wheel = fitting_wheel(package["wheels"], system(), platform.machine())
    if wheel is None:
        sys.exit(f"There is no ready-made uv for {system()} on {platform.machine()}: install uv, then try again.")
    content = fetch(wheel["url"])
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != wheel["hash"]:
        sys.exit(f"{wheel['url']} is not the file that uv.lock names: its digest differs.")
    TOOLS.mkdir(exist_ok=True)
    half = TOOLS / f"{name}.{os.getpid()}"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        half.write_bytes(archive.read(f"{name}.data/scripts/uv"))
    half.chmod(0o755)
    half.rename(uv)
    return str(uv)


def system() -> str:
    """This system's word in the name of a wheel."""
    if sys.platform == "darwin":
        return "macosx"
    return "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"


def fitting_wheel(wheels: list[dict[str, Any]], system: str, machine: str) -> dict[str, Any] | None:
    tag = re.compile(rf"[-.]{system}_\d+_\d+_{machine}\.")
    return next((wheel for wheel in wheels if tag.search(wheel["url"].rpartition("/")[2])), None)


def fetch(url: str) -> bytes:
    why = ""
    for _ in tries():
        try:
            with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                why = str(error)
        except (OSError, http.client.HTTPException) as error:
            why = str(error)
        # python.org's Python for macOS trusts nobody until it is told to; the system's curl does.
        curl = shutil.which("curl")
        done = subprocess.run([curl, "-fsSL", url], stdout=subprocess.PIPE) if curl else None
        if done and done.returncode == 0:
            return done.stdout
    sys.exit(f"{url} could not be fetched ({why}): install uv yourself, or try again.")


def tries() -> Iterator[None]:
    """The first one, and those after a pause each."""
    yield
    for pause_s in PAUSES_S:
        say(f"That did not work; trying again in {pause_s} s ...")
        time.sleep(pause_s)
        yield


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
