"""Starts the server on purpose broken, so that the power-cut test can show that it would notice.

usage: launch.py none|normal|early APP STATE PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from headgate.cli import main
from headgate.engine import Outcome
from headgate.local import schema
from headgate.local.groups import Groups, Landed
from headgate.local.upkeep import Upkeep
from headgate.message import Message

_LATER_S = 600  # when the server has long been killed, however slow it is with its reply


def reply_before_commit() -> None:
    """Say yes at once; store afterwards."""
    submit = Groups.submit

    def too_early(self: Groups, messages: Sequence[Message], whole: bool, landed: Landed) -> None:
        landed([Outcome("stored")] * len(messages))
        asyncio.get_running_loop().call_later(_LATER_S, submit, self, messages, whole, lambda _: None)

    Groups.submit = too_early  # type: ignore[method-assign]


def leave_it(self: Upkeep) -> None:
    """No checkpoint: it syncs too, and might come before a reply that takes its time."""


if __name__ == "__main__":
    fault, app, state, port = sys.argv[1:]
    if fault == "normal":
        schema.SYNCHRONOUS = "NORMAL"
        Upkeep.touched = leave_it  # type: ignore[method-assign]
    elif fault == "early":
        reply_before_commit()
    sys.argv = ["headgate", "serve", "--app", app, "--state", state, "--port", port]
    main()
