"""What CI prints of failures: every cause within what is kept of a log, and the closing line last."""

from __future__ import annotations

import pytest

from tests.cases import ROOT
from tests.shortened import cut

pytest_plugins = ["pytester"]

KEPT = 12_000

FAILING = """
import pytest

LONG = "x" * 300_000


def test_large_values_differ():
    first = [LONG, *range(10_000)]
    print(LONG)
    assert first == [LONG, *range(1, 10_001)], "the first cause"


def test_a_server_that_said_much():
    raise AssertionError("the second cause" + "\\nline of a log" * 20_000)


def test_deep_down():
    def down(n):
        down(n - 1) if n else pytest.fail("the third cause" + LONG, pytrace=bool(n))
    down(200)


@pytest.fixture
def broken():
    print("\\n".join(map(str, range(50_000))))
    raise OSError("the fourth cause")


def test_it_is_not_even_begun(broken):
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_in_ci_every_cause_is_near_the_end_and_the_closing_line_is_the_last(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest("from tests.conftest import *\n")
    pytester.makepyfile(FAILING)

    told = pytester.runpytest_subprocess("-q", "-ra", "--tb=short", "-n", workers).stdout.str()

    end = told[-KEPT:]
    for number in ("first", "second", "third", "fourth"):
        assert f"the {number} cause" in end
    assert "3 failed, 1 error in" in told.splitlines()[-1]
    assert len(told) < 2 * KEPT


def test_a_text_that_was_cut_is_not_cut_again() -> None:
    once = cut("first " + "x" * 10_000 + " last", 1_000)
    assert cut(once, 1_000) == once
    assert once.startswith("first ")
    assert once.endswith(" last")
    assert len(once) < 1_100
