"""The emulator that the tests of the AWS engine share, and the apps that are deployed to it, each once a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import ROOT, absent
from tests.once import once

if TYPE_CHECKING:
    from tests.aws.emulator.deployment import Deployed
    from tests.aws.emulator.process import Emulator
    from tests.aws.site import Site

_SHIPPED = {"conformance": "app.py", "jobs": "jobs.py", "flows": "flows.py"}
"""Apps of headgate.testing, by what they are called here."""

_KEY = pytest.StashKey["Emulator"]()
_BEGUN = pytest.StashKey[int]()
"""Where in the emulator's log a test begins."""
_TOLD = pytest.StashKey[int]()
_MOST_TOLD = 3
"""For so many failures of a worker its log is shown: the others most often have the same cause."""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def patience() -> Iterator[None]:
    """Whoever calls an emulator from here waits for it, as do the functions and the commands that are started."""
    from headgate.aws import clients, wire
    from tests.aws.emulator.patient.patient import TIMES

    with pytest.MonkeyPatch.context() as patch:
        for module, (name, seconds) in product((wire, clients), TIMES.items()):
            patch.setattr(module, name, seconds)
        yield


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest, run_folder: Path, patience: None) -> Emulator:
    """The strict emulator of this run; all workers of pytest-xdist share it."""
    try:
        import awslambdaric  # noqa: F401
        import ministack  # noqa: F401

        from tests.aws.emulator.process import shared
    except ImportError as error:
        absent(f"{error.name} is not installed (`make env` does it)")
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    emulator = shared(run_folder / "aws", owner, "strict")
    request.config.stash[_KEY] = emulator
    return emulator


@pytest.fixture(scope="session")
def bootstrapped(emulator: Emulator, run_folder: Path) -> None:
    """The account has what the CDK needs in it."""
    from tests.aws.emulator import deployment

    def make() -> dict[str, Any]:
        deployment.bootstrap(emulator, run_folder / "aws" / "bootstrap")
        return {}

    once(run_folder / "aws", "bootstrapped", make)


@pytest.fixture(scope="session")
def prepared(emulator: Emulator, bootstrapped: None) -> None:
    """The account has what it needs for `headgate deploy`: API Gateway may write logs, too."""
    from tests.aws.emulator.process import ACCOUNT

    role = {"op": "replace", "path": "/cloudwatchRoleArn", "value": f"arn:aws:iam::{ACCOUNT}:role/logs"}
    emulator.client("apigateway").update_account(patchOperations=[role])


@pytest.fixture(scope="session")
def deployed(emulator: Emulator, bootstrapped: None, run_folder: Path) -> Callable[[str], Deployed]:
    """Deploys an example, `intake`, or what is shipped, by the CDK CLI: who asks first does it, others find it."""
    from tests.aws.emulator import deployment
    from tests.aws.emulator.deployment import Deployed

    folder = run_folder / "aws"

    def of(name: str) -> Deployed:
        project = folder / name

        def make() -> dict[str, Any]:
            made = deployment.deploy(emulator, _project(name, project))
            return {"stacks": made.stacks, "outputs": made.outputs}

        found = once(folder, f"deployed-{name}", make)
        return Deployed(emulator, project, tuple(found["stacks"]), found["outputs"])

    return of


@pytest.fixture(scope="session")
def site(deployed: Callable[[str], Deployed], run_folder: Path) -> Site:
    """The app of tests/aws/intake, deployed. Whoever uses it is of the group `intake`: faults are for all to feel."""
    from tests.aws.site import senders_of, site_of

    app = deployed("intake")
    return site_of(app, once(run_folder / "aws", "intake-senders", lambda: senders_of(app)))


def _project(name: str, folder: Path) -> Path:
    from tests.aws.emulator.deployment import project_of

    if name in _SHIPPED:
        folder.mkdir()
        source = ROOT / "src" / "headgate" / "testing" / _SHIPPED[name]
        (folder / "app.py").write_text(source.read_text())
        return folder
    own = ROOT / "tests" / "aws" / name
    return project_of(own if own.is_dir() else ROOT / "examples" / name, folder)


def pytest_runtest_setup(item: pytest.Item) -> None:
    emulator = item.config.stash.get(_KEY, None)
    item.stash[_BEGUN] = 0 if emulator is None else emulator.log.stat().st_size


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    emulator = item.config.stash.get(_KEY, None)
    told = item.config.stash.get(_TOLD, 0)
    if report.failed and emulator is not None and told < _MOST_TOLD:
        item.config.stash[_TOLD] = told + 1
        if log := emulator.told(item.stash.get(_BEGUN, 0)):
            report.sections.append(("the emulator's log", log))
    return report
