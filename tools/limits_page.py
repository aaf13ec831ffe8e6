"""Writes docs/limits.md from `headgate.limits`: `make docs`."""

from __future__ import annotations

from pathlib import Path

from headgate.limits import Limit, all_limits

PAGE = Path(__file__).resolve().parent.parent / "docs" / "limits.md"

HEAD = """# Limits

Every limit headgate keeps. This page is made from `src/headgate/limits.py` by `make docs`.

| limit | value | what it protects, and what happens beyond it | source | read on |
|---|---:|---|---|---|
"""


def page() -> str:
    """The whole page as it has to stand in the repository."""
    return HEAD + "".join(row(limit) for limit in all_limits())


def row(limit: Limit) -> str:
    source = f"[{host(limit.source)}]({limit.source})" if "://" in limit.source else limit.source
    return f"| {limit.name} | {limit.value:,} {limit.unit} | {limit.why} | {source} | {limit.read_on} |\n"


def host(url: str) -> str:
    return url.split("/")[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
