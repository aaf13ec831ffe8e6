"""headgate takes in messages over HTTP: validated, synced to disk before the reply, stored once.

Everything a declaration needs is imported from here, and loaded when it is first named, so that a command line or a
Lambda function pays only for what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.declare import workflow as workflow
    from headgate.declare.app import App as App
    from headgate.declare.auth import ApiKey as ApiKey
    from headgate.declare.auth import Iam as Iam
    from headgate.declare.auth import Jwt as Jwt
    from headgate.declare.auth import Public as Public
    from headgate.declare.auth import Signed as Signed
    from headgate.declare.channel import Channel as Channel
    from headgate.declare.channel import Cors as Cors
    from headgate.declare.channel import Throttle as Throttle
    from headgate.declare.delivery import Direct as Direct
    from headgate.declare.delivery import Queued as Queued
    from headgate.declare.delivery import RetryPolicy as RetryPolicy
    from headgate.declare.delivery import Stream as Stream
    from headgate.declare.pipeline import CodeCommit as CodeCommit
    from headgate.declare.pipeline import Connection as Connection
    from headgate.declare.settings import Env as Env
    from headgate.declare.settings import Secret as Secret
    from headgate.declare.stage import stage as stage
    from headgate.declare.stores import Archive as Archive
    from headgate.declare.stores import Header as Header
    from headgate.declare.stores import Made as Made
    from headgate.declare.task import Start as Start
    from headgate.declare.topic import Email as Email
    from headgate.declare.topic import Topic as Topic
    from headgate.declare.topic import Webhook as Webhook
    from headgate.declare.verdict import Done as Done
    from headgate.declare.verdict import Failed as Failed
    from headgate.declare.verdict import Permanent as Permanent
    from headgate.declare.verdict import Retry as Retry
    from headgate.errors import DeclarationError as DeclarationError
    from headgate.errors import Forbidden as Forbidden
    from headgate.errors import Unauthorized as Unauthorized
    from headgate.http import Problem as Problem
    from headgate.http import Receipt as Receipt
    from headgate.http import Reply as Reply
    from headgate.http import Request as Request
    from headgate.message import Message as Message

__version__ = "0.1.0.dev0"

_HOMES = {
    "App": "declare.app",
    "ApiKey": "declare.auth",
    "Iam": "declare.auth",
    "Jwt": "declare.auth",
    "Public": "declare.auth",
    "Signed": "declare.auth",
    "Channel": "declare.channel",
    "Cors": "declare.channel",
    "Throttle": "declare.channel",
    "Direct": "declare.delivery",
    "Queued": "declare.delivery",
    "RetryPolicy": "declare.delivery",
    "Stream": "declare.delivery",
    "Env": "declare.settings",
    "Secret": "declare.settings",
    "CodeCommit": "declare.pipeline",
    "Connection": "declare.pipeline",
    "workflow": "declare",
    "stage": "declare.stage",
    "Archive": "declare.stores",
    "Header": "declare.stores",
    "Made": "declare.stores",
    "Done": "declare.verdict",
    "Failed": "declare.verdict",
    "Permanent": "declare.verdict",
    "Retry": "declare.verdict",
    "Email": "declare.topic",
    "Topic": "declare.topic",
    "Webhook": "declare.topic",
    "Start": "declare.task",
    "DeclarationError": "errors",
    "Forbidden": "errors",
    "Unauthorized": "errors",
    "Problem": "http",
    "Receipt": "http",
    "Reply": "http",
    "Request": "http",
    "Message": "message",
}


if not TYPE_CHECKING:  # a type checker would take any name for good

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            home = f"headgate.{_HOMES[name]}"
            value = (
                import_module(f"{home}.{name}") if home == "headgate.declare" else getattr(import_module(home), name)
            )
            globals()[name] = value
            return value
        from headgate.declare.later import refuse_name

        refuse_name(name)
        raise AttributeError(f"module 'headgate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
