"""Failures in few lines: who reads a log from its end finds what was wrong with each, and not one of them alone.

pytest itself cuts nothing in CI: neither what was captured, nor how two values differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprEntryNative, ReprFileLocation
from _pytest.reports import CollectReport, TestReport

MESSAGE_CHARACTERS = 400
ENTRY_CHARACTERS = 2_000
SECTION_CHARACTERS = 1_500
MOST_ENTRIES = 8


def shorten(report: CollectReport | TestReport) -> None:
    """Cut what a report tells of a failure, in place."""
    report.sections = [(title, cut(text, SECTION_CHARACTERS)) for title, text in report.sections]
    match report.longrepr:
        case str() as told:
            report.longrepr = cut(told, ENTRY_CHARACTERS)
        case ExceptionChainRepr() as told:
            for traceback, crash, _ in told.chain:
                traceback.reprentries = _fewer(traceback.reprentries)
                for entry in traceback.reprentries:
                    _shorten_entry(entry)
                _shorten_place(crash)


def cut(text: str, most: int) -> str:
    """A text of at most about so many characters: its beginning, where it is said what went wrong, and its end."""
    left_out = len(text) - most
    if left_out <= most // 10:  # also one that was cut before
        return text
    head = 2 * most // 3
    return f"{text[:head]}\n... {left_out:,} characters are left out ...\n{text[head - most :]}"


def _fewer(entries: Sequence[ReprEntry | ReprEntryNative]) -> list[ReprEntry | ReprEntryNative]:
    """The first calls, which are the test's, and the last, which failed."""
    found = list(entries)
    return found if len(found) <= MOST_ENTRIES else [*found[:3], *found[3 - MOST_ENTRIES :]]


def _shorten_entry(entry: ReprEntry | ReprEntryNative) -> None:
    entry.lines = cut("\n".join(entry.lines), ENTRY_CHARACTERS).split("\n")
    if isinstance(entry, ReprEntry):
        _shorten_place(entry.reprfileloc)


def _shorten_place(place: ReprFileLocation | None) -> None:
    if place is not None:
        place.message = cut(place.message, MESSAGE_CHARACTERS)
