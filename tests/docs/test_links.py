"""Every link of our pages that stays in the repository leads somewhere, to the very heading."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.cases import ROOT
from tests.docs.pages import name_of

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|<img[^>]+src=\"([^\"]+)\"")
_FENCED = re.compile(r"^ {0,3}```.*?^ {0,3}```", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


def links(page: Path) -> list[str]:
    """What a page links to, outside of its code."""
    text = _FENCED.sub("", page.read_text())
    return [first or second for first, second in _LINK.findall(text)]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = _FENCED.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "mailto"), f"{page}: {link}"
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        is_here = target.exists() and target.is_relative_to(ROOT)
        if not is_here or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_of_the_docs_is_reached_from_their_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached, to_do = {index}, [index]
    while to_do:
        page = to_do.pop()
        linked = {(page.parent / urlsplit(link).path).resolve() for link in links(page)}
        new = {other for other in linked - reached if other.suffix == ".md" and other.is_file()}
        reached |= new
        to_do += new

    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_every_decision_has_a_number_of_its_own_and_stands_in_the_list() -> None:
    pages = sorted(page.name for page in (ROOT / "docs" / "adr").glob("0*.md"))
    assert [page[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    listed = re.findall(r"^\| \[(\d+)\]\((.+?)\)", (ROOT / "docs" / "adr" / "README.md").read_text(), re.MULTILINE)
    assert listed == [(page[:4], page) for page in pages]
