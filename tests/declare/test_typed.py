"""What a type checker and an editor know of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import headgate
import headgate.testing

APP = """\
from headgate import App, Nope, Public
from headgate.testing import AppUnderTest, Neither
app = App("shop")
app.channel("/a", auth=Public(), indexes=["id"])
app.channel("/b", auth=Public(), indices=["id"])
app.chanel("/c")
reveal_type(app.channel)
"""


def test_a_type_checker_finds_misspelt_names_and_knows_every_option(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = ["--strict", "--config-file=", "--cache-dir=cache", "--follow-imports=silent", "--no-error-summary"]
    mypy = [sys.executable, "-m", "mypy", *options, "app.py"]
    told = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False).stdout
    *errors, revealed = told.splitlines()
    assert [line.split(":")[1] for line in errors] == ["1", "2", "5", "6"], told
    assert '"Nope"' in errors[0]
    assert '"Neither"' in errors[1]
    assert '"indices"' in errors[2]
    assert '"chanel"' in errors[3]
    for option in ("path: str", "key: str", "many: bool", "keep: datetime.timedelta", "description: str"):
        assert option in revealed


def test_the_names_for_type_checkers_are_those_that_are_loaded() -> None:
    tree = ast.parse(Path(str(headgate.__file__)).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    (loaded,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    ]
    imported = {}
    for node in typed.body:
        assert isinstance(node, ast.ImportFrom)
        (name,) = node.names
        assert name.asname == name.name
        imported[name.name] = str(node.module).removeprefix("headgate.")
    assert imported == loaded


def test_every_public_name_is_there() -> None:
    public = [name for name in dir(headgate) if name[0] != "_"]
    assert {"App", "Jwt", "Message"} <= set(public)
    assert all(hasattr(headgate, name) for name in public)
    assert headgate.testing.AppUnderTest.__name__ == "AppUnderTest"
    assert not hasattr(headgate.testing, "Neither")
