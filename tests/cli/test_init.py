"""headgate init"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.cdk.toolkit import pinned
from headgate.cli.init import TEMPLATES, project_name
from tests.cli.shell import run


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_passes_its_own_tests(tmp_path: Path, template: str) -> None:
    done = run(tmp_path, "init", "my shop", "--template", template)
    assert done.code == 0
    assert done.out.splitlines()[-3:] == ["Now type:", "  cd 'my shop'", "  headgate dev"]
    folder = tmp_path / "my shop"
    assert {path.name for path in folder.iterdir()} == {
        ".gitignore", "README.md", "app.py", "cdk.json", "package.json", "pyproject.toml", "tests"
    }  # fmt: skip
    assert 'App("my-shop")' in (folder / "app.py").read_text()
    assert run(folder, "check").code == 0
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder, capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stdout


def test_it_never_overwrites_and_then_writes_nothing_at_all(desk: Path) -> None:
    before = (desk / "app.py").read_text()
    done = run(desk, "init")
    told = "These exist already, and init never overwrites: app.py. Say another folder: headgate init DIR.\n"
    assert (done.code, done.err) == (2, told)
    assert [path.name for path in desk.iterdir()] == ["app.py"]
    assert (desk / "app.py").read_text() == before


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Shop", "shop"), ("my shop!", "my-shop"), ("2024", "app-2024"), ("été", "t"), ("x" * 99, "x" * 63)],
)
def test_the_project_is_named_after_its_folder(folder: str, name: str) -> None:
    assert project_name(Path("/") / folder) == name


def test_a_new_project_pins_the_cdk_cli_and_has_the_usual_scripts(tmp_path: Path) -> None:
    run(tmp_path, "init", "shop")

    package = json.loads((tmp_path / "shop" / "package.json").read_text())
    assert package["name"] == "shop"
    assert package["devDependencies"] == {"aws-cdk": pinned()}
    assert set(package["scripts"]) == {
        "build", "test", "watch", "deploy", "cdk:bootstrap", "cdk:deploy", "cdk:destroy", "test:integration"
    }  # fmt: skip
    assert json.loads((tmp_path / "shop" / "cdk.json").read_text())["app"] == "python -m headgate.cdk"


def test_the_integration_test_of_a_new_project_says_what_it_waits_for(tmp_path: Path) -> None:
    run(tmp_path, "init", "shop")

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/integration"],
        cwd=tmp_path / "shop",
        capture_output=True,
        text=True,
    )

    assert tested.returncode == 0, tested.stdout
    assert "headgate deploy" in tested.stdout
