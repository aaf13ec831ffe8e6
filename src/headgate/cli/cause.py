"""Why something failed, in lines for people."""

from __future__ import annotations

import json


def cause_lines(cause: str) -> list[str]:
    """The lines of a cause. That of a task that failed is JSON, as Lambda tells it: its traceback, then its error."""
    try:
        told = json.loads(cause)
    except (ValueError, RecursionError):
        return cause.splitlines()
    match told:
        case {"errorType": str(kind), "errorMessage": str(message), **more}:
            trace = more.get("stackTrace")
            frames = [str(frame) for frame in trace] if isinstance(trace, list) else []
            return "\n".join([*(frame.rstrip("\n") for frame in frames), f"{kind}: {message}"]).splitlines()
    return cause.splitlines()
