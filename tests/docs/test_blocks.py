"""The reader of code blocks itself: it must not pass what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import alike, blocks, steps


@pytest.mark.parametrize(
    ("promised", "printed"),
    [
        ('{"a": [1, 2.10]} 200', '{"a":[1,2.10]} 200'),
        ('{"id": "<key>"}', '{"id":"0193"}'),
        ("KEY  STATUS\n<key>  processed", "KEY   STATUS\n0193  processed"),
        ("first\n...\nlast", "first\nsecond\nthird\nlast"),
        ("first\n...", "first"),
    ],
)
def test_what_a_page_promised_is_recognised(promised: str, printed: str) -> None:
    assert alike(promised, printed)


@pytest.mark.parametrize(
    ("promised", "printed"),
    [
        ('{"a": 1} 200', '{"a":1} 201'),
        ('{"a": 1} 200', '{"a":1}'),
        ('{"a": 2.10}', '{"a":2.1}'),
        ('{"a": 1}', '{"a":"1"}'),
        ('{"a": 1}', '{"a":1,"b":2}'),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('{"a": null}', '{"a":false}'),
        ("[1]", "[1,2]"),
        ('{"id": "<key>"}', '{"id":""}'),
        ("one\ntwo", "one"),
        ("one", "one\ntwo"),
        ("first\n...\nlast", "first\nsecond"),
    ],
)
def test_what_differs_from_a_page_is_noticed(promised: str, printed: str) -> None:
    assert not alike(promised, printed)


def test_a_command_goes_on_while_a_quote_or_a_here_document_is_open(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo 'a\n  b'\na\n  b\n$ cat <<'END'\nx\nEND\nx\n$ true \\\n  yes\n```\n")
    (block,) = blocks(page)

    assert [tuple(step) for step in steps(block)] == [
        ("echo 'a\n  b'", "a\n  b"),
        ("cat <<'END'\nx\nEND", "x"),
        ("true \\\n  yes", ""),
    ]
