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
from headgate.local.index import LocalIndex
from headgate.message import Message


def reply_before_commit() -> None:
    """Say yes at once; store afterwards."""
    land = LocalIndex.land
    kept = set()

    async def too_early(
        self: LocalIndex, messages: Sequence[Message], *, whole: bool = False
    ) -> list[Outcome]:
        async def later() -> None:
            await asyncio.sleep(0.05)
            await land(self, messages, whole=whole)

        task = asyncio.create_task(later())
        kept.add(task)
        task.add_done_callback(kept.discard)
        return [Outcome("stored", message) for message in messages]

    LocalIndex.land = too_early  # type: ignore[method-assign]


if __name__ == "__main__":
    fault, app, state, port = sys.argv[1:]
    if fault == "normal":
        schema.SYNCHRONOUS = "NORMAL"
    elif fault == "early":
        reply_before_commit()
    sys.argv = ["headgate", "serve", "--app", app, "--state", state, "--port", port]
    main()
