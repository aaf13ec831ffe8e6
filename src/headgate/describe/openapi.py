"""The app's HTTP interface as an OpenAPI 3.1 document.

Everything in it comes from the declaration; the same declaration gives the same document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

from headgate import limits
from headgate.clock import isoformat
from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam, Jwt, Public, Signed
from headgate.declare.channel import Channel
from headgate.declare.stores import Field, Header
from headgate.describe.samples import sample_body
from headgate.describe.schemas import REF, SCHEMAS, Node, about, models, narrowed, stored
from headgate.errors import (
    Answerable,
    Broken,
    Conflict,
    FieldFault,
    Forbidden,
    HeadersTooLarge,
    InProgress,
    Invalid,
    Malformed,
    NotFound,
    RequestTimeout,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
    UriTooLong,
)
from headgate.http import JSON, Problem, Receipt, Reply

Shape = Callable[[Any], Reply | dict[str, Any]]

_SAMPLE_MS = 1_767_225_600_000
_SAMPLE_KEY = "019b76da-a800-7000-8000-000000000000"
_SAMPLE_SHARD, _SAMPLE_SEQUENCE = "shardId-000000000000", "49590338271490256608559692538361571095921575989136588898"
_SAMPLE_REQUEST = "019b76da-a801-7000-8000-000000000000"
_SAMPLE_FAULT = FieldFault("/name", "Field required", "missing")
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)


def openapi(app: App, server_url: str = "/") -> dict[str, object]:
    """The document, as a JSON-able tree. `server_url` may be relative to where the document is served.

    Calls `accepted=` and `problem=` with sample facts, to learn which statuses they answer. Where one of them
    raises, what it would answer is left open.
    """
    found, schemas = models(app.channels)
    words = _operation_words(app.channels)
    paths: dict[str, Node] = {}
    for channel in app.channels:
        model, word = found[channel.name], words[channel.name]
        post = _post(channel, word, model, about(channel, model, schemas))
        paths.setdefault(channel.path, {})["post"] = post
        if channel.read:
            schemas[f"{channel.name}.Stored"] = stored(model)
            paths[f"{channel.path.rstrip('/')}/{{key}}"] = {"get": _get(channel, word)}
            paths[f"{channel.path.rstrip('/')}/{{key}}/timeline"] = {"get": _timeline(channel, word)}
        if channel.read and channel.indexes:
            paths[channel.path]["get"] = _find(channel, word)
    schemes = {name: scheme for channel in app.channels for name, scheme in _schemes(channel).items()}
    return deepcopy(
        {
            "openapi": "3.1.0",
            "info": {"title": app.title, "version": "1", **_given(description=app.description)},
            "servers": [{"url": server_url}],
            "tags": [{"name": channel.name} for channel in app.channels],
            "paths": paths,
            "components": {
                "schemas": schemas | _used(SCHEMAS, paths),
                "headers": _used(_HEADERS, paths),
                **_given(securitySchemes=schemes),
            },
        }
    )


# ------------------------------------------------------------------------------------------------- operations


def _post(channel: Channel, word: str, model: Node, description: str) -> Node:
    item = narrowed(channel, model)
    batch: Node = {"type": "array", "items": item, "minItems": 1, "maxItems": channel.most_items}
    return {
        "operationId": f"post_{word}",
        "summary": "Send messages" if channel.many else "Send a message",
        "description": "\n\n".join(filter(None, (description, _once(channel)))),
        "tags": [channel.name],
        **_given(parameters=_key_parameters(channel), security=_security(channel)),
        "requestBody": {
            "description": f"JSON of at most {channel.body_limit_bytes} bytes.",
            "required": True,
            "content": {JSON: {"schema": batch if channel.many else item}},
        },
        "responses": _replies(*_stored_replies(channel), *_problems(channel, *_post_errors(channel))),
    }


def _get(channel: Channel, word: str) -> Node:
    found = _reply("The message.", {JSON: {"schema": {"$ref": f"{REF}{channel.name}.Stored"}}})
    return {
        "operationId": f"get_{word}",
        "summary": "Read a message",
        "tags": [channel.name],
        "parameters": [{"name": "key", "in": "path", "required": True, "schema": _KEY}],
        **_given(security=_security(channel)),
        "responses": _replies(("200", found), *_problems(channel, *_read_errors(channel), NotFound())),
    }


def _timeline(channel: Channel, word: str) -> Node:
    found = _reply("What happened to it so far.", {JSON: {"schema": {"$ref": f"{REF}headgate.Timeline"}}})
    return _get(channel, word) | {
        "operationId": f"get_{word}_timeline",
        "summary": "Read what happened to a message",
        "responses": _replies(("200", found), *_problems(channel, *_read_errors(channel), NotFound())),
    }


def _find(channel: Channel, word: str) -> Node:
    alone = len(channel.indexes) == 1
    names = ", ".join(f"`{index.name}`" for index in channel.indexes)
    page: Node = {
        "type": "object",
        "required": ["items", "cursor"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"{REF}{channel.name}.Stored"}},
            "cursor": {"type": ["string", "null"], "description": "Where the next page starts."},
        },
    }
    found = _reply("A page of messages.", {JSON: {"schema": page}})
    bad_query = Invalid("The query is not valid.", reason="invalid_query")
    return {
        "operationId": f"find_{word}",
        "summary": "Find messages",
        "description": f"Newest first. Ask by {names if alone else f'exactly one of {names}'}.",
        "tags": [channel.name],
        "parameters": [
            *(
                {"name": index.name, "in": "query", "required": alone, "schema": {"type": "string"}}
                for index in channel.indexes
            ),
            *_PAGING,
        ],
        **_given(security=_security(channel)),
        "responses": _replies(("200", found), *_problems(channel, bad_query, *_read_errors(channel))),
    }


def _operation_words(channels: Iterable[Channel]) -> dict[str, str]:
    """Each channel's name as an identifier; or as it is, where two would be the same."""
    words = {channel.name: re.sub(r"\W", "_", channel.name, flags=re.ASCII) for channel in channels}
    taken = list(words.values())
    return {name: word if taken.count(word) == 1 else name for name, word in words.items()}


def _once(channel: Channel) -> str:
    match channel.key:
        case Field(dotted):
            key = f"The key is `{dotted}`."
        case Header(name):
            key = f"The key is the header {name}."
        case _:
            key = "The key is the Idempotency-Key; without one each request is a new message."
    return f"{key} The same body under the same key is stored once; another body under it is refused."


def _key_parameters(channel: Channel) -> list[Node]:
    if isinstance(channel.key, Field):
        return []
    # The key of a batch's message is the header's value, a dot and the message's place.
    room = len(f".{channel.most_items}") if channel.many else 0
    return [
        {
            "name": channel.key.name if channel.key else Header().name,
            "in": "header",
            "required": channel.key is not None,
            "description": "The same again tells that this is the same message, sent again.",
            "schema": {**_KEY, "maxLength": limits.KEY.value - room, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        }
    ]


_KEY: Node = {"type": "string", "minLength": 1, "maxLength": limits.KEY.value}
_PAGING: tuple[Node, ...] = (
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": limits.PAGE.value},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": "The `cursor` of the page before.",
        "schema": {"type": "string"},
    },
)


# ---------------------------------------------------------------------------------------------------- replies


def _stored_replies(channel: Channel) -> Iterator[tuple[str, Node]]:
    told = "Stored, durably."
    if channel.stream:
        again = "Sent again, it is appended again." if channel.rowless else "Sent again, it is answered the same."
        told = f"Appended to the stream, durably. {again}"
    if channel.unread:
        told = "Stored, durably, and not looked at yet: a message that is bad is set aside, under this id."
    if not channel.many:
        yield _stored_reply(channel, told)
        return
    if channel.whole:
        yield str(channel.taken), _reply(told, _ITEMS)
    else:
        yield str(channel.taken), _reply("Stored, durably, but for items that say otherwise.", _ITEMS, "Retry-After")
        yield "400", _reply("No item is valid.", _ITEMS)
        if not channel.rowless:
            yield "409", _reply("Nothing was stored: keys are taken by other bodies.", _ITEMS)
        yield "503", _reply("Nothing could be stored. Send it again in a moment.", _ITEMS, "Retry-After")


def _stored_reply(channel: Channel, told: str) -> tuple[str, Node]:
    headers = () if channel.rowless or channel.unread else ("Idempotency-Replayed",)
    if channel.accepted is None:
        content = {JSON: {"schema": {"$ref": f"{REF}headgate.Accepted"}}}
        return str(channel.taken), _reply(told, content, *headers)
    shard, sequence = (_SAMPLE_SHARD, _SAMPLE_SEQUENCE) if channel.stream else (None, None)
    body = sample_body(channel)
    receipt = Receipt(channel.name, _SAMPLE_KEY, _SAMPLE_MS, isoformat(_SAMPLE_MS), shard, sequence, body=body)
    shaped = _shaped(channel.accepted, receipt, channel.taken)
    if shaped is None:
        return "2XX", _reply(told, {JSON: {"schema": {}}}, *headers)
    return str(shaped.status), _reply(told, _content(shaped, "stored", {}), *headers)


def _post_errors(channel: Channel) -> Iterator[Answerable]:
    yield from _read_errors(channel)
    if not channel.unread:
        yield Malformed()
        yield Invalid(faults=(_SAMPLE_FAULT,))
    if (not channel.many or channel.whole) and not channel.rowless and not channel.unread:
        yield Conflict()
    if not channel.many and not channel.rowless and not channel.unread:
        yield InProgress(retry_after_s=1)
    yield TooLarge()
    yield UnsupportedMedia()
    if channel.throttle is not None:
        yield TooManyRequests(retry_after_s=1)


def _read_errors(channel: Channel) -> Iterator[Answerable]:
    """What any request to a channel may be answered."""
    if isinstance(channel.auth, Iam):
        yield Forbidden()
    elif not isinstance(channel.auth, Public):
        yield Unauthorized(headers=_CHALLENGE)
        yield Forbidden(headers=_CHALLENGE if isinstance(channel.auth, Jwt) else ())
    yield Broken()
    yield Unavailable(retry_after_s=1)


def _problems(channel: Channel, *errors: Answerable) -> Iterator[tuple[str, Node]]:
    """What the gate tells, in the channel's shape; and what the server tells before a request gets there."""
    for error in errors:
        yield _problem(error, channel.problem)
    for error in (RequestTimeout(), UriTooLong(), HeadersTooLarge()):
        yield _problem(error, None)


def _problem(error: Answerable, shape: Shape | None) -> tuple[str, Node]:
    problem = Problem.of(error, _SAMPLE_REQUEST)
    shaped = _shaped(shape, problem, problem.status) if shape else None
    # The gate, too, falls back to the plain problem where `problem=` fails.
    schema = {"$ref": f"{REF}headgate.Problem"} if shaped is None else {}
    reply = shaped or problem.reply()
    content = _content(reply, problem.reason, schema)
    return str(reply.status), _reply(error.sentence, content, *(name for name, _ in problem.headers))


def _shaped(shape: Shape, facts: object, status: int) -> Reply | None:
    """What a user's function makes of sample facts; None where it makes nothing that could be sent."""
    try:
        made = shape(facts)
        return (made if isinstance(made, Reply) else Reply(status, made)).checked()
    except Exception:  # noqa: BLE001 - the user's function may not know what to make of samples
        return None


def _content(reply: Reply, name: str, schema: Node) -> Node:
    """The content of a reply with itself as the example; nothing where it has no body."""
    encoded = reply.encoded()
    if not encoded:
        return {}
    try:
        example = {"examples": {name: {"value": json.loads(encoded)}}}
    except ValueError:
        example = {}
    return {reply.content_type: {"schema": schema, **example}}


def _reply(description: str, content: Node, *headers: str) -> Node:
    refs = {name: {"$ref": f"{__HEADER_REF}{name}"} for name in (*headers, "X-Request-Id")}
    return {"description": description, "headers": refs, **_given(content=deepcopy(content))}


def _replies(*replies: tuple[str, Node]) -> Node:
    """The replies by status; those of one status as one."""
    joined: dict[str, Node] = {}
    for status, reply in sorted(replies, key=lambda pair: pair[0]):
        joined[status] = _joined(joined[status], reply) if status in joined else reply
    return joined


def _joined(one: Node, two: Node) -> Node:
    content = dict(one.get("content", {}))
    for media, shape in two.get("content", {}).items():
        other = content.get(media, shape)
        same = shape["schema"] == other["schema"]
        schema = shape["schema"] if same else {"anyOf": [other["schema"], shape["schema"]]}
        examples = other.get("examples", {}) | shape.get("examples", {})
        content[media] = {"schema": schema, **_given(examples=examples)}
    return {
        "description": f"{one['description']} {two['description']}",
        "headers": one["headers"] | two["headers"],
        **_given(content=content),
    }


__HEADER_REF = "#/components/headers/"
_ITEMS: Node = {JSON: {"schema": {"$ref": f"{REF}headgate.Items"}}}
_HEADERS: dict[str, Node] = {
    "Idempotency-Replayed": {
        "description": "`true` where the message had been stored before and this is the same answer again.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "X-Request-Id": {
        "description": "The request's X-Request-Id, or one that was made for it.",
        "schema": {"type": "string"},
    },
}


# ------------------------------------------------------------------------------------------------------- auth

_SIGNATURES = {
    "standard": ("webhook-signature", "Standard Webhooks; sent with webhook-id and webhook-timestamp."),
    "stripe": ("Stripe-Signature", "HMAC-SHA256 over time and body, as Stripe signs."),
    "github": ("X-Hub-Signature-256", "HMAC-SHA256 over the body, as GitHub signs."),
}


def _schemes(channel: Channel) -> dict[str, Node]:
    """The ways to authenticate, each enough alone. They are the channel's own, as keys and secrets are."""
    match channel.auth:
        case Jwt():
            token = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            return {f"{channel.name}.jwt": {**token, "description": f"A JSON Web Token for {channel.name}."}}
        case ApiKey():
            about = {"description": f"An API key for {channel.name}."}
            return {
                f"{channel.name}.bearer": {"type": "http", "scheme": "bearer", **about},
                f"{channel.name}.api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", **about},
            }
        case Signed(style=style):
            header, about_it = _SIGNATURES[style]
            signature = {"type": "apiKey", "in": "header", "name": header, "description": about_it}
            return {f"{channel.name}.signature": signature}
        case Iam():
            scheme = f"AWS Signature Version 4, for {channel.auth.region} and {channel.auth.service}."
            sigv4 = {"type": "apiKey", "in": "header", "name": "Authorization", "description": scheme}
            return {f"{channel.name}.iam": {**sigv4, "x-amazon-apigateway-authtype": "awsSigv4"}}
        case _:
            return {}


def _security(channel: Channel) -> list[Node]:
    scopes = list(channel.auth.scopes) if isinstance(channel.auth, Jwt) else []
    return [{name: scopes} for name in _schemes(channel)]


def _used(components: dict[str, Node], paths: dict[str, Node]) -> dict[str, Node]:
    """Those components that something refers to."""
    text = json.dumps([paths, list(components.values())])
    return {name: component for name, component in components.items() if f'/{name}"' in text}


def _given(**values: object) -> Node:
    """Those values that are not empty."""
    return {name: value for name, value in values.items() if value}
