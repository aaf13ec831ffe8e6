"""Tables: drawn for people, plain columns for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from headgate.cli.place import visible


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their names. What a terminal could take for a command is escaped."""
    safe = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(names, safe)
        return
    widths = [max(map(len, column)) for column in zip(names, *safe, strict=True)]
    for row in (names, *safe):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
