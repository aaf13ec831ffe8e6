"""Fixtures every test may use, and what tests tell at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.cases import cases_folder, in_ci
from tests.shortened import shorten

_TOLD = "told"

# The same examples in every run, however slow the machine is.
settings.register_profile(
    "headgate", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headgate")


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of recorded cases; see tests/cases.py."""
    return cases_folder()


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Puts a line under the summary of the run, however the test ends. It travels with the report, so that a worker
    of pytest-xdist is heard too."""
    return lambda line: record_property(_TOLD, line)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if in_ci():
        shorten(report)


@pytest.hookimpl(tryfirst=True)
def pytest_collectreport(report: pytest.CollectReport) -> None:
    if in_ci():
        shorten(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {line}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, line in report.user_properties
        if name == _TOLD
    ]
    if lines:
        terminalreporter.section("what was seen")
        for line in lines:
            terminalreporter.line(line)
