"""CDK is loaded once, in one worker: it takes seconds. It runs on the Node that our own dependencies bring."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate.cdk.toolkit import node
from headgate.declare.load import load_app
from tests.cases import ROOT

if TYPE_CHECKING:
    from tests.cdk.stacks import Synthesized

os.environ.setdefault("JSII_NODE", node())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.xdist_group("cdk"))


@pytest.fixture(scope="session")
def message(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    from tests.cdk.stacks import synthesize

    return synthesize(tmp_path_factory.mktemp("message"), load_app(str(ROOT / "examples" / "message")))


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    from tests.cdk.stacks import synthesize

    app = load_app(str(ROOT / "examples" / "orders"))
    return synthesize(tmp_path_factory.mktemp("orders"), app, app.stage_named("prod"))


@pytest.fixture(scope="session")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    from headgate.testing.app import app
    from tests.cdk.stacks import synthesize

    return synthesize(tmp_path_factory.mktemp("conformance"), app)


@pytest.fixture(scope="session")
def works(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    from tests.cdk.stacks import synthesize
    from tests.cdk.works import app

    return synthesize(tmp_path_factory.mktemp("works"), app, app.stage_named("prod"))
