"""The pytest plugin: the fixture `headgate_app` is the user's app, in process and ready to be sent to.

It is loaded in every pytest run where headgate is installed, so it imports nothing of headgate until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headgate.declare.app import App
    from headgate.testing.inprocess import AppUnderTest

_LOADED = pytest.StashKey["dict[str, App]"]()

pytest.register_assert_rewrite(
    "headgate.testing.contract", "headgate.testing.scenarios", "headgate.testing.work_scenarios"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("headgate_app", "the app that the fixture headgate_app serves: a folder, a file or module:app")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "headgate(app): the app that the fixture headgate_app serves, instead of the ini option's"
    )


@pytest.fixture
def headgate_app_from(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[App | str | Path], AppUnderTest]]:
    """Serve an App, or the app at a path (relative to the rootdir), until the test is over."""
    from headgate.testing.inprocess import AppUnderTest

    with ExitStack() as up:

        def serve(app: App | str | Path) -> AppUnderTest:
            declared = _loaded(request.config, str(app)) if isinstance(app, str | Path) else app
            declared.check()
            served = AppUnderTest(declared, tmp_path_factory.mktemp("headgate"))
            up.callback(served.close)
            return served

        yield serve


@pytest.fixture
def headgate_app(
    request: pytest.FixtureRequest, headgate_app_from: Callable[[App | str | Path], AppUnderTest]
) -> AppUnderTest:
    """The app of this project: the mark `headgate(app=...)`, the ini option `headgate_app`, or the nearest app.py."""
    mark = request.node.get_closest_marker("headgate")
    said = mark.kwargs.get("app", *mark.args[:1]) if mark is not None else None
    return headgate_app_from(said or request.config.getini("headgate_app") or _nearest(request))


def _nearest(request: pytest.FixtureRequest) -> Path:
    """The folder with an app.py that is nearest to the test, going up to the rootdir."""
    root = request.config.rootpath
    for folder in request.path.parents:
        if (folder / "app.py").is_file():
            return folder
        if folder == root:
            break
    raise pytest.UsageError(
        f"headgate_app: there is no app.py between {request.path.parent} and {root}; "
        "say `headgate_app = PATH` in the configuration of pytest, or mark the test with headgate(app=PATH)"
    )


def _loaded(config: pytest.Config, target: str) -> App:
    """The app at `target`, loaded once a session: its declaration holds no state."""
    from headgate.declare.load import load_app

    path, colon, name = target.partition(":")
    if (config.rootpath / path).exists():
        target = f"{config.rootpath / path}{colon}{name}"
    apps = config.stash.setdefault(_LOADED, {})
    if target not in apps:
        apps[target] = load_app(target)
    return apps[target]
