"""The local server passes the HTTP scenarios, in one process and with fronts."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgate.clock import SystemClock
from headgate.gate.verify import new_api_key
from headgate.local.engine import LocalEngine
from headgate.local.keys import new_iam_key
from headgate.local.state import StateFolder
from headgate.testing import app as conformance
from headgate.testing import flows, jobs
from headgate.testing.flow_scenarios import FlowScenarios
from headgate.testing.scenarios import ServerScenarios, Site
from headgate.testing.work_scenarios import WorkScenarios
from tests.serving import serving


@pytest.fixture(scope="module")
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with conforming(tmp_path_factory.mktemp("conformance") / "state", processes=1) as site:
        yield site


@pytest.fixture(scope="module")
def site_with_fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with conforming(tmp_path_factory.mktemp("fronts") / "state", processes=2) as site:
        yield site


@contextmanager
def conforming(state: Path, *, processes: int) -> Iterator[Site]:
    settings = {
        "CONFORMANCE_JWT_SECRET": secrets.token_urlsafe(32),
        "CONFORMANCE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    api_keys = {name: _new_key(state, name) for name in ("alice", "bob")}
    iam = _new_access_key(state)
    with serving(Path(conformance.__file__), state, env=settings, processes=processes) as served:
        yield Site(served.url, settings, api_keys, iam)


def _new_key(path: Path, name: str) -> str:
    clock = SystemClock()
    state = StateFolder(path)
    state.hold()
    engine = LocalEngine(state.store, ["notes"], clock)
    key, row = new_api_key("notes", name, clock.now_ms())
    engine.keys.add_api_key(row)
    engine.close()
    state.release()
    return key


def _new_access_key(path: Path) -> dict[str, str]:
    state = StateFolder(path)
    state.hold()
    engine = LocalEngine(state.store, ["iam"], SystemClock())
    row = new_iam_key("iam", "tester", SystemClock().now_ms())
    engine.keys.add_iam_key(row)
    engine.close()
    state.release()
    scope = {"region": "us-east-1", "service": "execute-api"}
    return {"access_key_id": row.id, "secret_access_key": row.secret, **scope}


class TestLocalServer(ServerScenarios):
    @pytest.fixture
    def site(self, served_site: Site) -> Site:
        return served_site


class TestFronts(ServerScenarios):
    @pytest.fixture
    def site(self, site_with_fronts: Site) -> Site:
        return site_with_fronts


@pytest.fixture(scope="module")
def served_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(Path(jobs.__file__), tmp_path_factory.mktemp("jobs") / "state") as served:
        yield Site(served.url, {}, {"alice": ""})


class TestLocalWork(WorkScenarios):
    @pytest.fixture
    def site(self, served_jobs: Site) -> Site:
        return served_jobs


@pytest.fixture(scope="module")
def served_flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(Path(flows.__file__), tmp_path_factory.mktemp("flows") / "state") as served:
        yield Site(served.url, {}, {"alice": ""})


class TestLocalFlows(FlowScenarios):
    @pytest.fixture
    def site(self, served_flows: Site) -> Site:
        return served_flows
