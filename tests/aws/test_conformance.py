"""The deployed app passes the HTTP scenarios: the same ones, from the same file, as the local server."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.testing.flow_scenarios import FlowScenarios
from headgate.testing.scenarios import HttpScenarios, Site
from headgate.testing.work_scenarios import WorkScenarios
from tests.aws.emulator.deployment import Deployed
from tests.aws.emulator.process import REGION
from tests.aws.site import add_api_key
from tests.once import once


@pytest.fixture(scope="session")
def conformance(deployed: Callable[[str], Deployed], run_folder: Path) -> Site:
    """The conformance app, deployed, with its secrets and its senders."""
    app = deployed("conformance")
    known = once(run_folder / "aws", "conformance-senders", lambda: _made_known(app))
    return Site(app.url, **known)


def _made_known(app: Deployed) -> dict[str, Any]:
    settings = {
        "CONFORMANCE_JWT_SECRET": secrets.token_urlsafe(32),
        "CONFORMANCE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    for name, value in settings.items():
        app.set_secret(name, value)
    api_keys = {name: add_api_key(app, "notes", name) for name in ("alice", "bob")}
    return {"settings": settings, "api_keys": api_keys, "iam": _access_key(app)}


def _access_key(app: Deployed) -> dict[str, str]:
    """A user of the account who may call the API."""
    users = app.emulator.client("iam")
    users.create_user(UserName="sender")
    allowed = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    users.put_user_policy(UserName="sender", PolicyName="sends", PolicyDocument=policy)
    key = users.create_access_key(UserName="sender")["AccessKey"]
    return {
        "access_key_id": key["AccessKeyId"],
        "secret_access_key": key["SecretAccessKey"],
        "region": REGION,
        "service": "execute-api",
    }


@pytest.mark.xdist_group("conformance")
class TestDeployed(HttpScenarios):
    @pytest.fixture
    def site(self, conformance: Site) -> Site:
        return conformance


@pytest.mark.xdist_group("jobs")
class TestDeployedWork(WorkScenarios):
    @pytest.fixture
    def site(self, deployed: Callable[[str], Deployed]) -> Site:
        return Site(deployed("jobs").url, {}, {"alice": ""})


@pytest.mark.xdist_group("deployed-flows")
class TestDeployedFlows(FlowScenarios):
    @pytest.fixture
    def site(self, deployed: Callable[[str], Deployed]) -> Site:
        return Site(deployed("flows").url, {}, {"alice": ""})
