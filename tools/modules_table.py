"""Writes the table of modules in ARCHITECTURE.md, from the floors and the docstrings: `make docs`."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "headgate"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- modules: made by `make docs` -->\n", "<!-- end of modules -->\n"


def page() -> str:
    """ARCHITECTURE.md as it has to stand in the repository."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def table() -> str:
    """Every module in one line, from the lowest floor up."""
    rows = [row(path) for name in ["__init__", *rooms()] for path in modules(name)]
    return "\n| module | what |\n|---|---|\n" + "".join(rows) + "\n"


def rooms() -> list[str]:
    """Files and folders of src/headgate, from the lowest floor up, as import-linter holds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [room.strip(" ()") for layer in reversed(layers) for room in layer.split("|")]


def modules(room: str) -> list[Path]:
    """The modules of a room; an `__init__.py` with nothing but a docstring stands for its folder."""
    if (file := SOURCE / f"{room}.py").exists():
        return [file]
    return [path for path in sorted((SOURCE / room).rglob("*.py")) if holds_code(path)]


def holds_code(path: Path) -> bool:
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name != "__init__.py" or len(statements) > 1


def row(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    what = " ".join(said.partition("\n\n")[0].split()).replace("|", "\\|")
    return f"| `{path.relative_to(SOURCE)}` | {what} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
