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
from headgate.message import Message


def reply_before_commit() -> None:
    """Say yes at once; store afterwards."""
    submit = Groups.submit

    def too_early(self: Groups, messages: Sequence[Message], whole: bool, landed: Landed) -> None:
        landed([Outcome("stored")] * len(messages))
        asyncio.get_running_loop().call_later(0.05, submit, self, messages, whole, lambda _: None)

    Groups.submit = too_early  # type: ignore[method-assign]


if __name__ == "__main__":
    fault, app, state, port = sys.argv[1:]
    if fault == "normal":
        schema.SYNCHRONOUS = "NORMAL"
    elif fault == "early":
        reply_before_commit()
    sys.argv = ["headgate", "serve", "--app", app, "--state", state, "--port", port]
    main()
