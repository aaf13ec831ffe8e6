"""What the supervisor of `dev` and its candidates say to each other; `candidate.py` draws how it goes."""

from __future__ import annotations

from typing import NamedTuple

GOOD, GO, SERVING = b"good\n", b"go\n", b"serving\n"
BROKEN = 75
"""The exit code of a candidate whose store failed: a new process may mend it."""


class Order(NamedTuple):
    """What a candidate is started with. `line` and `listening` are inherited descriptors."""

    target: str
    state: str
    line: int
    listening: int
    greets: bool
    log_format: str
