"""A channel in a few words, for people and for scripts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from headgate.declare.asl import states
from headgate.declare.auth import ApiKey, Auth, Iam, Jwt, Public, Signed
from headgate.declare.channel import Channel
from headgate.declare.stores import Field, Header
from headgate.declare.task import Workflow

COLUMNS = ("METHOD", "PATH", "MODEL", "KEY", "AUTH", "KEEP")


def outline(channel: Channel) -> dict[str, Any]:
    """What `check --json` says about a channel."""
    return {
        "name": channel.name,
        "methods": ["POST", "GET"] if channel.read else ["POST"],
        "path": channel.path,
        "model": model_words(channel),
        "many": "all" if channel.whole else "each" if channel.many else None,
        "key": key_words(channel.key),
        "auth": auth_words(channel.auth),
        "delivery": type(channel.delivery).__name__.lower(),
        "indexes": [index.dotted for index in channel.indexes],
        "keep_s": None if channel.keep is None else channel.keep.total_seconds(),
    }


def cells(channel: Channel) -> tuple[str, ...]:
    """A channel as one row under `COLUMNS`."""
    said = outline(channel)
    return (
        " ".join(said["methods"]),
        channel.path,
        f"list of {said['model']}" if channel.many else said["model"],
        said["key"],
        said["auth"],
        span_words(channel.keep),
    )


def about(workflow: Workflow) -> dict[str, Any]:
    """What `check --json` says about a workflow."""
    return {"name": workflow.name, "kind": workflow.kind, "states": sum(1 for _ in states(workflow.document))}


def model_words(channel: Channel) -> str:
    """The model's name."""
    if channel.model is None:
        return "any JSON"
    return str(getattr(channel.model, "__name__", channel.model))


def key_words(key: Field | Header | None) -> str:
    """Where the key comes from."""
    match key:
        case Field(dotted):
            return dotted
        case Header(name):
            return f"header {name}"
        case None:
            return "made here"


def auth_words(auth: Auth) -> str:
    """Who may post."""
    match auth:
        case Public():
            return "anyone"
        case ApiKey():
            return "API key"
        case Jwt():
            return "JWT"
        case Signed(style=style):
            return f"signed ({style})"
        case Iam():
            return "IAM signature"
        case function:
            return getattr(function, "__name__", type(function).__name__)


def span_words(keep: timedelta | None) -> str:
    """How long messages are kept: `36 h`, in the largest unit that says it exactly."""
    if keep is None:
        return "for ever"
    seconds = keep.total_seconds()
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % length_s == 0:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:g} s"
