"""The execution that a message starts: what it is called, and what it is handed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from headgate.clock import isoformat
from headgate.declare.task import Start
from headgate.message import Message

_NAME_CHARS = 80
_UNFIT = re.compile(r"[^A-Za-z0-9_.=@!+-]")  # a little narrower than Step Functions
_MARK_CHARS = 16


def execution_name(start: Start, message: Message, *, express: bool = False) -> str:
    """The same for the same message. What a name cannot hold is replaced, and the whole marked with a hash then; so is
    that of a message whose key counts per principal, but for an Express workflow, where names need not differ."""
    said = start.name.replace("{id}", message.key).replace("{channel}", message.channel)
    fit = _UNFIT.sub("_", said)
    if fit == said and len(said) <= _NAME_CHARS and (express or not message.scope):
        return said
    mark = hashlib.sha256(f"{message.scope}\n{said}".encode()).hexdigest()[:_MARK_CHARS]
    return f"{fit[: _NAME_CHARS - _MARK_CHARS - 1]}-{mark}"


def execution_input(start: Start, message: Message) -> str:
    """The JSON text; the bytes of the message stand in it as they came."""
    return _text(start.input, message)


def _text(template: Any, message: Message) -> str:
    match template:
        case "{body}":
            return message.body.decode()
        case "{id}":
            return json.dumps(message.key, ensure_ascii=False)
        case "{channel}":
            return json.dumps(message.channel)
        case "{principal}":
            return json.dumps(message.principal, ensure_ascii=False)
        case "{received_at}":
            return json.dumps(isoformat(message.received_ms))
        case dict():
            inner = (f"{json.dumps(key, ensure_ascii=False)}:{_text(one, message)}" for key, one in template.items())
            return f"{{{','.join(inner)}}}"
        case list() | tuple():
            return f"[{','.join(_text(one, message) for one in template)}]"
        case _:
            return json.dumps(template, ensure_ascii=False)
