"""The emulator that the tests of the AWS engine share."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.aws.emulator.process import Emulator, shared
from tests.cases import absent

_KEY = pytest.StashKey[Emulator]()


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest, run_folder: Path) -> Emulator:
    """The emulator of this run; all workers of pytest-xdist share it. `HEADGATE_EMULATOR=stock` takes it as it is."""
    try:
        import awslambdaric  # noqa: F401
        import ministack  # noqa: F401
    except ImportError as error:
        absent(f"{error.name} is not installed (`make env` does it)")
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    emulator = shared(run_folder / "aws", owner, os.environ.get("HEADGATE_EMULATOR", "strict"))
    request.config.stash[_KEY] = emulator
    return emulator


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    emulator = item.config.stash.get(_KEY, None)
    if report.failed and emulator is not None:
        report.sections.append(("the emulator's log", emulator.told()))
    return report
