"""What tests need from outside the repository: recorded cases, and commands of the system.

Where it is absent a test is skipped with one line; in CI, which must have everything, it fails.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def cases_folder() -> Path:
    """The folder of recorded cases: `../shared/cases` beside the repository, or what HEADGATE_CASES names."""
    folder = Path(os.environ.get("HEADGATE_CASES") or ROOT.parent / "shared" / "cases")
    if not folder.is_dir():
        absent(f"the case folder {folder} is absent (HEADGATE_CASES names another)")
    return folder


@cache
def case_tool(name: str) -> Any:
    """A module that comes with the recorded cases, such as their comparison."""
    spec = spec_from_file_location(name, cases_folder() / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(name: str) -> str:
    """The path of a command of this system, such as `strace`."""
    return shutil.which(name) or absent(f"the command {name} is absent")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def absent(what: str) -> NoReturn:
    if in_ci():
        pytest.fail(what, pytrace=False)
    pytest.skip(what, allow_module_level=True)
