"""Starts a server that has little patience while there is a file `hurry` beside its state, so that slow senders need
not be waited for, and nobody else is hurried.

usage: hurried.py APP STATE PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from headgate.cli import main
from headgate.local.protocol import GateProtocol

_HURRIED_S = 1.5
_LOOK_EVERY_S = 0.2


class Time:
    """A time that is short while there is a file."""

    def __init__(self, usual_s: float, sign: Path) -> None:
        self._usual_s = usual_s
        self._sign = sign

    def __get__(self, *_: object) -> float:
        return _HURRIED_S if self._sign.exists() else self._usual_s


if __name__ == "__main__":
    app, state, port = sys.argv[1:]
    for name in ("header_time_s", "body_time_s", "keep_alive_s"):
        setattr(GateProtocol, name, Time(getattr(GateProtocol, name), Path(state).with_name("hurry")))
    setattr(GateProtocol, "_pulse_s", lambda _: _LOOK_EVERY_S)  # noqa: B010
    sys.argv = ["headgate", "serve", "--app", app, "--state", state, "--port", port]
    main()
