"""Every block of code on our pages is run: Python is written to its file, commands are typed in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases import command
from tests.docs.blocks import Block, blocks, terminal
from tests.docs.pages import name_of, pages

MOST_NOT_RUN = 3


def with_code(page: Path) -> bool:
    return any(block.language in ("python", "console") for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in pages() if with_code(page)], ids=name_of)
def test_the_code_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    command("curl")
    folder = tmp_path / "shop"
    folder.mkdir()
    with terminal(folder) as shell:
        for block in filter(lambda block: block.is_run, blocks(page)):
            match block.language:
                case "python":
                    shell.write(block)
                    if block.file == "app.py" and "faulty" not in block.words:
                        shell.check(block)
                case "console":
                    shell.run(block)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_has_a_language_and_what_claims_to_be_json_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language, f"{block.where}: say a language, or `text`"
        if block.language == "json":
            json.loads(block.text)


def test_hardly_any_code_is_left_out() -> None:
    left_out = [block for page in pages() for block in blocks(page) if not block.is_run]

    assert len(left_out) <= MOST_NOT_RUN, [block.where for block in left_out]


def test_every_python_block_says_which_file_it_is() -> None:
    def is_nowhere(block: Block) -> bool:
        return block.language == "python" and block.file is None and block.is_run

    assert [block.where for page in pages() for block in blocks(page) if is_nowhere(block)] == []
