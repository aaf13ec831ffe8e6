"""The house is as its papers say: modules, rooms, floors, pages and versions."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Protocol

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import headgate
from headgate import engine
from tests.cases import ROOT
from tools.bootstrap import fitting_wheel, install_toolkit
from tools.limits_page import PAGE as LIMITS_PAGE
from tools.limits_page import page as limits_page
from tools.modules_table import holds_code
from tools.modules_table import page as architecture_page

SOURCE = ROOT / "src" / "headgate"
# A contract that goes beyond another one is kept in the same room.
ROOMS = [
    name
    for name, value in inspect.getmembers(engine, inspect.isclass)
    if Protocol in value.__bases__ and not any(base.__module__ == engine.__name__ for base in value.__bases__)
]


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text())


def our_files() -> list[Path]:
    """Every file that is in the repository or would be with `git add`, but for what others wrote."""
    listed = subprocess.run(
        # The checkout may be somebody else's, as in a container.
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if "/assets/" not in name and name and (path := ROOT / name).is_file()]


def test_architecture_lists_every_module_in_one_line_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    listed = re.findall(r"^\| `([\w/]+\.py)` \| \S.* \|$", text, re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if holds_code(path))
    assert text == architecture_page(), "run `make docs`"


def test_the_contract_has_the_rooms_that_are_built() -> None:
    assert {"Index", "Keys"} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_the_same_name_in_every_house(room: str) -> None:
    for house in ("local", "testing/contract"):
        file, folder = SOURCE / house / f"{room.lower()}.py", SOURCE / house / room.lower() / "__init__.py"
        assert file.is_file() or folder.is_file(), f"{room} is missing in {house}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_on_aws_has_its_resources_under_the_same_name(room: str) -> None:
    for house in ("aws", "cdk"):
        assert (SOURCE / house / f"{room.lower()}.py").is_file(), f"{room} is missing in {house}"


@pytest.mark.parametrize(("house", "room"), [(house, room) for house in ("local", "aws") for room in ROOMS])
def test_a_room_keeps_the_contract(house: str, room: str) -> None:
    contract = getattr(engine, room)
    module = importlib.import_module(f"headgate.{house}.{room.lower()}")
    classes = [value for _, value in inspect.getmembers(module, inspect.isclass) if value.__module__ != engine.__name__]
    adapters = [value for value in classes if contract in value.__mro__[1:]]
    assert adapters, f"no class of {house}/{room.lower()}.py subclasses {room}"
    assert not any(inspect.isabstract(adapter) for adapter in adapters)


def test_imports_only_go_down_the_floors() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_page_of_limits_is_the_one_made_from_the_code() -> None:
    assert LIMITS_PAGE.read_text() == limits_page(), "run `make docs`"


def test_the_version_is_the_same_everywhere_and_in_the_changelog() -> None:
    version = read_toml("pyproject.toml")["project"]["version"]
    assert headgate.__version__ == version
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in (version, "Unreleased")


def test_the_lock_file_knows_every_dependency_that_is_declared() -> None:
    project = read_toml("pyproject.toml")
    parts = {"": project["project"]["dependencies"]}
    parts |= project["project"]["optional-dependencies"] | project["dependency-groups"]
    declared = [Requirement(line) for lines in parts.values() for line in lines]

    packages = read_toml("uv.lock")["package"]
    metadata = next(package["metadata"] for package in packages if package["name"] == "headgate")
    known = metadata["requires-dist"] + [entry for group in metadata["requires-dev"].values() for entry in group]

    assert {(wish.name, wish.specifier) for wish in declared} == {
        (entry["name"], SpecifierSet(entry.get("specifier", ""))) for entry in known
    }


def test_the_lock_file_names_only_the_public_index() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


@pytest.mark.parametrize("system", ["manylinux", "musllinux", "macosx"])
@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_a_bare_machine_finds_its_uv_in_the_lock_file(system: str, machine: str) -> None:
    name = "aarch64" if machine == "arm64" and system != "macosx" else machine
    uv = next(package for package in read_toml("uv.lock")["package"] if package["name"] == "uv")
    wheel = fitting_wheel(uv["wheels"], system, name)
    assert wheel is not None
    assert wheel["hash"].startswith("sha256:")


def test_no_file_names_a_folder_of_one_machine() -> None:
    folders = [folder for folder in (ROOT.parent, Path.home(), Path(tempfile.gettempdir())) if folder != Path("/")]
    machine_path = re.compile(rf"(?<![\w.~}}\])/])(?:{'|'.join(re.escape(str(it)) for it in folders)})\b".encode())
    naming = {
        f"{path.relative_to(ROOT)}: {found[0].decode()}"
        for path in our_files()
        if (found := machine_path.search(path.read_bytes()))
    }
    assert not naming


def test_the_script_of_ci_may_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)


def test_where_the_cdk_cannot_be_installed_it_says_why_and_what_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    install_toolkit()
    why, next_ = capsys.readouterr().out.splitlines()
    assert why == f"The CDK CLI could not be installed: Not a directory: {tmp_path / 'cache' / 'headgate'}"
    assert next_ == "All but deploying to AWS works without it; `headgate deploy` tries to install it again."
