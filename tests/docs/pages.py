"""The pages that people read."""

from __future__ import annotations

from pathlib import Path

from tests.cases import ROOT


def pages() -> list[Path]:
    """README.md and everything in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """A page as people write it."""
    return str(page.relative_to(ROOT))
