"""Calls of AWS that wait longer for their answers than those of production do: whatever stands for AWS here may stand
still for ten seconds, and nobody wants to know then that this is an outage.

`python -m patient HANDLER` runs a function so, under AWS's own runtime client; it loads nothing by itself. Beside it
lies what does the same for every other Python program that has this folder on its path.
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

TIMES = {"CONNECT_S": 5, "READ_S": 12}
"""Within the 20 s that tests hand to what they call themselves a try has to fit."""
_WHERE = "headgate.aws.wire"


class _Finder:
    """Finds the one module that says how long is waited, and changes what it says once it is loaded."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == _WHERE else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def loaded(module: Any) -> None:
            load(module)
            vars(module).update(TIMES)

        vars(spec.loader)["exec_module"] = loaded
        return spec


def install() -> None:
    """From here on, in this process."""
    sys.meta_path.insert(0, _Finder)


if __name__ == "__main__":
    install()
    runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)
