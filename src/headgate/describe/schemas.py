"""The JSON Schemas of what travels: the channels' models, and our own shapes.

Our own names, and those made from a channel's, have a dot in them. No name that pydantic gives to a model has
one, so the two never meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from headgate import limits
from headgate.declare.channel import Channel
from headgate.declare.stores import Field

Node = dict[str, Any]

REF = "#/components/schemas/"


class _Generator(GenerateJsonSchema):
    """pydantic's, but what JSON Schema has no words for may be any JSON, and is no warning."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own attribute

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        return {}


def models(channels: Iterable[Channel]) -> tuple[dict[str, Node], dict[str, Node]]:
    """Each channel's model by the channel's name, and the definitions that they refer to."""
    adapters = {channel.name: channel.adapter for channel in channels}
    found, rest = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items() if adapter is not None],
        ref_template=REF + "{model}",
        schema_generator=_Generator,
    )
    by_name = {name: schema for (name, _), schema in found.items()}
    return {name: by_name.get(name, {}) for name in adapters}, rest.get("$defs", {})


def about(channel: Channel, model: Node, definitions: dict[str, Node]) -> str:
    """What the channel says of itself, else what its model does."""
    definition = definitions.get(model.get("$ref", "").removeprefix(REF), model)
    return str(channel.description or definition.get("description", ""))


def narrowed(channel: Channel, model: Node) -> Node:
    """The model, less what its key and indexes do not allow."""
    rules: Node = {}
    for index in channel.indexes:
        _place(rules, index.path, {"maxLength": limits.INDEX_VALUE.value})
    if isinstance(channel.key, Field):
        key = _KEY if model else {"type": ["string", "integer"], **_KEY}
        _place(rules, channel.key.path, key, required=True)
    if model and rules:
        return {"allOf": [model, rules]}
    return model or rules


def _place(schema: Node, path: tuple[str, ...], rule: Node, *, required: bool = False) -> None:
    """Put a rule for the value at `path` into a schema of objects."""
    for name in path:
        if required:
            schema["type"] = "object"
            schema["required"] = [*schema.get("required", []), name]
        schema = schema.setdefault("properties", {}).setdefault(name, {})
    schema.update(rule)


_STATUS: Node = {
    "type": "string",
    "description": "`accepted` and `processing` until it is `processed`; `failed` or `rejected` where that did not "
    "work out; `discarded` where somebody gave it up.",
}


def stored(model: Node) -> Node:
    """A message as it is read back."""
    return {
        "type": "object",
        "required": ["key", "status", "received_at", "body", "error"],
        "properties": {
            "key": {"type": "string"},
            "status": _STATUS,
            "received_at": {"type": "string", "format": "date-time"},
            "body": model,
            "error": {"type": ["string", "null"], "description": "Why it failed; null where it did not."},
        },
    }


# A `not`, since viewers make sample values from a `pattern`; this one's would be noise.
_KEY: Node = {
    "minLength": 1,
    "maxLength": limits.KEY.value,
    "not": {"type": "string", "pattern": r"[\x00-\x1f\x7f-\x9f]"},
}
_FAULTS = {"type": "array", "items": {"$ref": f"{REF}headgate.Fault"}}
SCHEMAS: dict[str, Node] = {
    "headgate.Accepted": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
    "headgate.Items": {
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "key", "status", "errors"],
                    "properties": {
                        "index": {"type": "integer", "minimum": 0, "description": "Its place in the array."},
                        "key": {"type": ["string", "null"]},
                        "status": {"enum": ["stored", "replayed", "conflict", "invalid", "unavailable"]},
                        "errors": _FAULTS,
                    },
                },
            }
        },
    },
    "headgate.Timeline": {
        "type": "object",
        "required": ["key", "status", "items"],
        "properties": {
            "key": {"type": "string"},
            "status": _STATUS,
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["at", "what", "attempt", "took_ms", "detail"],
                    "properties": {
                        "at": {"type": "string", "format": "date-time"},
                        "what": {
                            "type": "string",
                            "description": "`accepted`, `processed`, `retried`, `failed`, `lost`, `rejected`, "
                            "`redriven`, `edited` or `discarded`.",
                        },
                        "attempt": {"type": ["integer", "null"], "description": "Which try it was, from 1 on."},
                        "took_ms": {"type": ["integer", "null"]},
                        "detail": {"type": ["string", "null"]},
                    },
                },
            },
        },
    },
    "headgate.Problem": {
        "type": "object",
        "description": "RFC 9457, with a `message` that can be shown as it is.",
        "required": ["type", "title", "status", "detail", "message", "errors", "request_id"],
        "properties": {
            "type": {"type": "string", "description": "`urn:headgate:problem:` and a stable word."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "message": {"type": "string"},
            "errors": _FAULTS,
            "request_id": {"type": "string"},
        },
    },
    "headgate.Fault": {
        "type": "object",
        "required": ["pointer", "detail", "type"],
        "properties": {
            "pointer": {"type": "string", "description": "A JSON pointer into what was sent."},
            "detail": {"type": "string"},
            "type": {"type": "string", "description": "A stable word to switch on."},
        },
    },
}
