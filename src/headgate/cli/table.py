"""Tables: columns of text, the same on a terminal and in a pipe, so that what is seen can be cut and copied."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.cli.place import visible


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their names. What a terminal could take for a command is escaped."""
    safe = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *safe, strict=True)]
    for row in (names, *safe):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
