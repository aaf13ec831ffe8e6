"""Where in the user's code a declaration stands."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

_HERE = str(Path(__file__).parent)


def caller() -> str:
    """`file:line` of the nearest frame outside of headgate's own declarations; the file relative to the folder
    one is in, where it lies below it."""
    frame = _their_frame()
    return f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def folder_of_caller() -> Path:
    """The folder of the file in which `caller` is."""
    return Path(_their_frame().f_code.co_filename).parent


def _their_frame() -> FrameType:
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def shown(file: str) -> str:
    """A file as a user would write it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _is_ours(file: str) -> bool:
    # While `from headgate import X` runs, headgate/__init__.py and the import system stand in between.
    return file.startswith((_HERE, "<frozen")) or file == str(Path(_HERE).parent / "__init__.py")
