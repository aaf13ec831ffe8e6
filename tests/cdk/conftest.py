"""CDK is loaded once, in one worker: it takes seconds. It runs on the Node that our own dependencies bring."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate.cdk.toolkit import node
from headgate.declare.app import App
from headgate.declare.load import load_app
from tests.cases import ROOT

if TYPE_CHECKING:
    from tests.cdk.stacks import Synthesized

EXAMPLES = ("message", "company_messages", "orders", "events", "requests")
OTHERS = ("conformance", "jobs", "works", "intake")

os.environ.setdefault("JSII_NODE", node())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.xdist_group("cdk"))


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Synthesized]:
    """The templates of an app, by its name in EXAMPLES or OTHERS, each made once."""
    from tests.cdk.stacks import synthesize

    @cache
    def of(name: str) -> Synthesized:
        app = load_app(str(ROOT / "examples" / name)) if name in EXAMPLES else _other(name)
        stage = "prod" if name in ("orders", "works") else "dev"
        return synthesize(tmp_path_factory.mktemp(name), app, app.stage_named(stage))

    return of


def _other(name: str) -> App:
    match name:
        case "conformance":
            from headgate.testing.app import app
        case "jobs":
            from headgate.testing.jobs import app
        case "works":
            from tests.cdk.works import app
        case _:
            return load_app(str(ROOT / "tests" / "aws" / name))
    return app


@pytest.fixture(scope="session")
def message(synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized("message")


@pytest.fixture(scope="session")
def orders(synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized("orders")


@pytest.fixture(scope="session")
def conformance(synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized("conformance")


@pytest.fixture(scope="session")
def works(synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized("works")
