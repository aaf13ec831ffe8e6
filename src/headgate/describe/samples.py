"""A body that stands for all others, where a user's function is asked what it makes of one."""

from __future__ import annotations

import json
from typing import Any

from headgate.declare.channel import Channel
from headgate.describe.schemas import REF, models

_OF_TYPES: dict[str, Any] = {
    "string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip
_DEPTH = 8


def sample_body(channel: Channel) -> bytes:
    """A body with a value in every field of the channel's model; it need not be one that the channel takes."""
    if channel.adapter is None:
        return b"{}"
    schemas, known = models([channel])
    return json.dumps(_sample(schemas[channel.name], known, _DEPTH)).encode()


def _sample(schema: dict[str, Any], known: dict[str, Any], depth: int) -> Any:
    if depth == 0:
        return None
    if reference := schema.get("$ref"):
        return _sample(known.get(reference.removeprefix(REF), {}), known, depth - 1)
    for word in ("examples", "enum"):
        if schema.get(word):
            return schema[word][0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return _sample(schema[word][0], known, depth - 1)
    if properties := schema.get("properties"):
        return {name: _sample(inner, known, depth - 1) for name, inner in properties.items()}
    return _OF_TYPES.get(str(schema.get("type")))
