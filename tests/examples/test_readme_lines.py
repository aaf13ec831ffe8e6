"""The lines of every example's README, run as they stand there against the real server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cases import ROOT, command
from tests.docs.blocks import blocks, terminal

EXAMPLES = sorted(page.parent.name for page in ROOT.glob("examples/*/README.md"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_line_of_an_examples_readme_prints_what_the_page_says(example: str, tmp_path: Path) -> None:
    command("curl")
    folder = tmp_path / "repository"
    shutil.copytree(
        ROOT / "examples" / example, folder / "examples" / example, ignore=shutil.ignore_patterns(".*", "__pycache__")
    )
    page = ROOT / "examples" / example / "README.md"
    lines = [block for block in blocks(page) if block.language == "console" and block.is_run]
    with terminal(folder) as shell:
        for block in lines:
            shell.run(block)


def test_every_example_has_a_readme_with_lines_to_run() -> None:
    for app in ROOT.glob("examples/*/app.py"):
        page = app.parent / "README.md"
        assert any("curl" in block.text for block in blocks(page) if block.language == "console"), page
