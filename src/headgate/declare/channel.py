"""A channel: one HTTP endpoint, with its model, key, auth, delivery and stores."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from inspect import iscoroutinefunction, signature
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from headgate import limits
from headgate.declare.auth import ApiKey, Auth, Iam, Jwt, Public, Signed
from headgate.declare.delivery import RECORDS_AT_ONCE, Delivery, Direct, Queued, Stream
from headgate.declare.handler import Handler, Needs
from headgate.declare.model import adapter_of, adapter_of_many, few_values, index_fault, key_fault, model_fault
from headgate.declare.settings import Env, Secret
from headgate.declare.shape import FLAG, NUMBER, TEXT, TEXTS, WHOLE, given, misfits
from headgate.declare.source import caller
from headgate.declare.stores import FACTS, OWN_NAMES, Archive, Field, Header, Made, Shown, is_header_name
from headgate.declare.task import Start, Workflow
from headgate.errors import DeclarationFault
from headgate.http import Problem, Receipt, Reply

Many = bool | Literal["each", "all"]
Function = TypeVar("Function", bound=Callable[..., Any])

_PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.:\[\]-]+")
_THROTTLE = {"rate_per_s": NUMBER, "burst": WHOLE}
_CORS = {"origins": TEXTS, "headers": TEXTS, "max_age_s": WHOLE}
_CHANNEL = {"name": TEXT, "read": FLAG, "description": TEXT}


@dataclass(frozen=True, slots=True)
class Throttle:
    """A token bucket, as API Gateway has: `rate_per_s` requests a second in the long run, `burst` at once."""

    rate_per_s: float
    burst: int

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Throttle ", given(self, _THROTTLE), _THROTTLE)):
            yield from wrong
        elif not 0 < self.rate_per_s < math.inf or self.burst < 1:
            yield "`throttle=` must be a Throttle(rate_per_s, burst) with a rate above 0 and a burst of at least 1."


@dataclass(frozen=True, slots=True)
class Cors:
    """Which web pages may post from a browser. `origins` are `https://host[:port]`, or `*` for all."""

    origins: tuple[str, ...]
    headers: tuple[str, ...] = (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "X-Api-Key",
        "X-Request-Id",
    )
    max_age_s: int = 600

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Cors ", given(self, _CORS), _CORS)):
            yield from wrong
            return
        if not self.origins or not all(map(_ORIGIN.fullmatch, self.origins)):
            yield '`cors=` must be Cors(("https://example.com",)): origins without a path, or "*".'
        if bad := [name for name in self.headers if not is_header_name(name)]:
            yield f"Cors `headers=`: {bad[0]!r} cannot be the name of a header."
        if self.max_age_s < 0:
            yield "Cors `max_age_s=` must be 0 seconds or more."


class Channel:
    """One endpoint of an app; made by `App.channel`. Behind the semicolon stands what an option is if left out.

    - `path`: where to post, as in `/orders`
    - `model`: a pydantic model, or anything pydantic has a schema for; any JSON
    - `name`: what commands, metrics and logs call it; the path with `-` for `/`, and `root` for `/`
    - `key`: the body's field that makes a message the same (`"id"`, `"meta.id"`), a `Header`, or `Made("request_id")`
      where headgate makes it; `Made("id")`
    - `scope`: `"principal"` if a key from the body counts per sender; `"channel"`
    - `many`: True or `"each"` for arrays that are judged item by item, `"all"` for all or none; False
    - `auth`: `ApiKey()`, `Jwt(...)`, `Signed(...)`, `Iam()`, a function from a `Request` to the principal, or
      `Public()`; nothing, it has to be said
    - `delivery`: `Direct()`, `Queued(...)` with a handler behind it, or `Stream(...)` with consumers; `Direct()`
    - `indexes`: fields to find messages by, as in `["customer", "meta.company_id"]`; none
    - `attributes`: fields that a table on AWS shows as attributes beside the body, as text, for who reads it without
      headgate; what is no text, number, true or false, or longer than 1,024 bytes, stands in the body alone. As
      `{"customer": "meta.id", "s3_key": "{object}"}` they have names of their own, and can tell `{received_at}`,
      `{principal}`, the `{object}` in the archive, and the `{execution}` that was started last; none
    - `workflow`: a workflow's name or a `Start`: each message, or with `Start(..., per="batch")` each request, starts
      an execution before its sender is answered, whose end is the end of the message; none
    - `archive`: `Archive("{customer}/{id}.json")`, where its bytes rest as an object each; none
    - `keep`: how long a message stays, as in `timedelta(days=1)`; for ever
    - `throttle`: `Throttle(rate_per_s, burst)`, more is 429; no limit
    - `cors`: `Cors(("https://example.com",))`, web pages that may post from a browser; none
    - `body_limit_bytes`: larger bodies are 413, at most 3,000,000 (780,000 if let in unread); 1 MiB, or that
    - `stamp`: field names and their values, or functions that make them, for handlers; none
    - `accepted`: a function from the `Receipt` to the reply's body or a `Reply`; 201 with the id,
      202 if queued
    - `problem`: a function from the `Problem` to the reply's body or a `Reply`; problem+json
    - `read`: whether messages can be read back over HTTP; True, but False on a `Public` channel, and on a Stream
      without `dedupe=`
    - `description`: what the docs page says; the model's docstring

    What a handler needs:

    - `timeout_s`: an attempt that takes longer is killed, and counts as failed; 30
    - `memory_mb`: what its process may use; 512
    - `env`: variables of its environment, text or `Env("NAME")`; none
    - `secrets`: secrets that it finds in its environment under their names, `[Secret("X")]`; none
    - `concurrency`: how many run at a time; 4
    - `batch`: above 1 it is handed lists of so many messages at most, and answers with a list of verdicts, or with
      None if all are done; 1, and 100 for consumers of a Stream
    """

    def __init__(
        self,
        path: str,
        model: Any = None,
        *,
        name: str | None = None,
        key: str | Header | Made | None = None,
        scope: Literal["channel", "principal"] = "channel",
        many: Many = False,
        auth: Auth | None = None,
        delivery: Delivery | None = None,
        indexes: tuple[str, ...] | list[str] = (),
        attributes: tuple[str, ...] | list[str] | Mapping[str, str] = (),
        archive: Archive | None = None,
        workflow: str | Workflow | Start | None = None,
        keep: timedelta | None = None,
        throttle: Throttle | None = None,
        cors: Cors | None = None,
        body_limit_bytes: int | None = None,
        stamp: Mapping[str, Any] | None = None,
        accepted: Callable[[Receipt], Reply | dict[str, Any]] | None = None,
        problem: Callable[[Problem], Reply | dict[str, Any]] | None = None,
        read: bool | None = None,
        description: str = "",
        timeout_s: float = Needs.timeout_s,
        memory_mb: int = Needs.memory_mb,
        env: Mapping[str, str | Env] | None = None,
        secrets: tuple[Secret, ...] | list[Secret] = (),
        concurrency: int = Needs.concurrency,
        batch: int | None = None,
    ) -> None:
        self.where = caller()
        self.path = path
        self.model = model
        self.name = name if name is not None else _name_of(path)
        self.made = key if isinstance(key, Made) else Made()
        self.key: Field | Header | None = Field(key) if isinstance(key, str) else None if isinstance(key, Made) else key
        self.scope = scope
        self.many = bool(many)
        self.whole = many == "all"
        self._many = many
        self._auth = auth
        self.delivery = delivery if delivery is not None else Direct()
        self.indexes = tuple(Field(dotted) for dotted in indexes) if TEXTS.fits(indexes) else ()
        self._indexes = indexes
        self.attributes = _shown(attributes)
        self._attributes = attributes
        self.archive = archive
        self.start = workflow if isinstance(workflow, Start | None) else Start(workflow)
        self.keep = keep
        self.throttle = throttle
        self.cors = cors
        self.body_limit_bytes = (
            min(limits.BODY_DEFAULT.value, self.most_bytes) if body_limit_bytes is None else body_limit_bytes
        )
        self.stamp = stamp or {}
        self.accepted = accepted
        self.problem = problem
        self.read = read if read is not None else not (isinstance(auth, Public) or self.rowless)
        self.description = description
        if batch is None:
            batch = RECORDS_AT_ONCE if isinstance(self.delivery, Stream) else Needs.batch
        self.needs = Needs(timeout_s, memory_mb, env or {}, _in_tuple(secrets), concurrency, batch)
        self.handlers: list[Handler] = []
        self._adapter: TypeAdapter[Any] | None = None

    def __repr__(self) -> str:
        return f"<channel {self.name} at {self.path}>"

    def __call__(self, function: Function) -> Function:
        """Used as a decorator: the handler of a Queued channel, or a consumer of a Stream, which is called like its
        function and may have others beside it."""
        self.handlers.append(Handler(caller(), function))
        return function

    @property
    def handler(self) -> Handler | None:
        """What works its messages off; None where they are only stored."""
        return self.handlers[0] if self.handlers else None

    @cached_property
    def queue(self) -> Queued | None:
        """Its delivery where that is a queue."""
        return self.delivery if isinstance(self.delivery, Queued) else None

    @cached_property
    def stream(self) -> Stream | None:
        """Its delivery where that is a stream."""
        return self.delivery if isinstance(self.delivery, Stream) else None

    @property
    def rowless(self) -> bool:
        """Whether no row is written for a message, and so nobody can tell its repetition."""
        return self.stream is not None and not self.stream.dedupe

    @property
    def keep_ms(self) -> int | None:
        """How long a message stays when it is done, in milliseconds; None for ever."""
        return None if self.keep is None else self.keep // timedelta(milliseconds=1)

    @cached_property
    def finishes(self) -> bool:
        """Whether more than storing has to be done before the sender of a Direct channel is answered."""
        return isinstance(self.delivery, Direct) and not (self.archive is None and self.start is None)

    @cached_property
    def unread(self) -> bool:
        """Whether messages are let in unread."""
        return self.queue is not None and self.queue.unread

    @cached_property
    def taken(self) -> int:
        """The status of a good reply that the channel does not shape: 201, or 202 where the work is yet to be done."""
        return 201 if isinstance(self.delivery, Direct) else 202

    @property
    def keep_dead_ms(self) -> int | None:
        """How long a dead letter, or a discarded one, stays; None for ever."""
        return None if self.keep_ms is None else max(self.keep_ms, limits.DEAD_KEEP.value * 86_400_000)

    @property
    def most_bytes(self) -> int:
        """The largest body that its delivery can carry on every engine."""
        if self.stream:
            return limits.STREAM_BODY.value
        if self.start is not None:
            return limits.WORKFLOW_BODY.value
        return (limits.UNREAD_BODY if self.unread else limits.DIRECT_BODY).value

    @property
    def auth(self) -> Auth:
        """Who may post."""
        return cast("Auth", self._auth)

    @property
    def most_items(self) -> int:
        """How many messages one request may hold."""
        if not self.many:
            return 1
        return (limits.BATCH_ALL if self.whole else limits.BATCH_EACH).value

    @property
    def per_principal(self) -> bool:
        """Whether a key counts per principal: where it comes from a header, or is declared so."""
        return self.scope == "principal" or not isinstance(self.key, Field)

    @property
    def key_name(self) -> str:
        """What the key is called where it needs a name, as in a table on AWS."""
        match self.key:
            case Field() as field:
                return field.name
            case Header(name) if isinstance(name, str):
                return name.lower().replace("-", "_")
            case _:
                return self.made.name

    @property
    def adapter(self) -> TypeAdapter[Any] | None:
        """The model as pydantic sees it; None for any JSON."""
        if self._adapter is None and self.model is not None:
            self._adapter = adapter_of(self.model)
        return self._adapter

    @property
    def validator(self) -> SchemaValidator | None:
        """pydantic's compiled validator; None for any JSON."""
        return cast("SchemaValidator", self.adapter.validator) if self.adapter else None

    @property
    def validator_of_many(self) -> SchemaValidator | None:
        """The same for an array of messages: it says whether all are valid, and not what is wrong with each."""
        return None if self.model is None else cast("SchemaValidator", adapter_of_many(self.model).validator)

    def faults(self) -> Iterator[DeclarationFault]:
        """Everything about this channel alone that cannot be honoured."""
        try:
            for sentence in self._sentences():
                yield DeclarationFault(self.where, f"channel {self.path}: {sentence}")
        except Exception as error:  # noqa: BLE001 - a value may be anything, and so may what it raises when looked at
            told = next(iter(str(error).splitlines()), "")
            sentence = f"this cannot be checked: {type(error).__name__}: {told}"
            yield DeclarationFault(self.where, f"channel {self.path}: {sentence}")
        for handler in self.handlers:
            for sentence in self._handler_sentences(handler):
                yield DeclarationFault(handler.where, f"channel {self.path}: {sentence}")

    def warnings(self) -> Iterator[DeclarationFault]:
        """What is allowed but probably not meant."""
        if self.stamp and self.handler is None:
            yield DeclarationFault(
                self.where,
                f"channel {self.path}: nothing reads `stamp=`, which is for handlers; stored bytes are never changed.",
            )
        partition = self.stream.partition if self.stream else None
        few = None if partition is None else few_values(self.model, partition.path)
        if self.stream and partition is not None and few is not None and self.stream.shards > 1:
            yield DeclarationFault(
                self.where,
                f"channel {self.path}: `partition_key=` {partition.dotted!r} has {few} values at most, and all "
                "messages of one are in one shard; leave it out, and they are spread by their ids.",
            )

    def _sentences(self) -> Iterator[str]:
        yield from misfits("", given(self, _CHANNEL), _CHANNEL)
        yield from self._path_sentences()
        yield from self._model_sentences()
        yield from self._auth_sentences()
        yield from self._delivery_sentences()
        yield from self.needs.sentences(limits.RECORDS_BATCH if self.stream else limits.HANDLER_BATCH)
        if self._many not in (True, False, "each", "all"):
            yield f'`many=` is {self._many!r}; say True (or "each"), "all", or leave it out.'
        yield from self._archive_sentences()
        if self.start is not None:
            yield from self.start.sentences()
            if not isinstance(self.delivery, Direct):
                yield "`workflow=` is for Direct channels; leave `delivery=` out, or call a handler."
            if self.start.per_batch and not self.many:
                yield 'Start `per="batch"` is for channels that take arrays; say `many=`, or leave `per=` out.'
        if self.scope not in ("channel", "principal"):
            yield f'`scope=` is {self.scope!r}; say "channel" or "principal".'
        if self.keep is not None and (not isinstance(self.keep, timedelta) or self.keep < timedelta(milliseconds=1)):
            yield "`keep=` must be a timedelta longer than nothing, as in timedelta(days=1)."
        if isinstance(self.throttle, Throttle):
            yield from self.throttle.sentences()
        elif self.throttle is not None:
            yield "`throttle=` must be a Throttle(rate_per_s, burst)."
        if isinstance(self.cors, Cors):
            yield from self.cors.sentences()
        elif self.cors is not None:
            yield '`cors=` must be Cors(("https://example.com",)).'
        yield from self._body_sentences()

    def _delivery_sentences(self) -> Iterator[str]:
        match self.delivery:
            case Direct():
                return
            case Queued() as queued:
                if wrong := list(queued.sentences()):
                    yield from wrong
                    return
            case Stream() as stream:
                yield from self._stream_sentences(stream)
                return
            case type() as kind if issubclass(kind, (Direct, Queued, Stream)):
                yield f"`delivery={kind.__name__}` is a class; say {kind.__name__}(...)."
                return
            case _:
                yield f"`delivery=` is {self.delivery!r}; say Direct(), Queued(...) or Stream(...)."
                return
        if queued.order is not None and (fault := index_fault(self.model, queued.order.path)):
            yield f"Queued `order_by=` {queued.order_by!r}: {fault}"
        if not queued.unread:
            return
        if self.many:
            yield 'Queued `validate="worker"` lets bodies in unread; with `many=` each item has to be answered.'
        if self.accepted is not None:
            yield 'Queued `validate="worker"` has one fixed reply, 202 with the request id; leave `accepted=` out.'
        if isinstance(self.key, Header):
            yield 'Queued `validate="worker"` takes its keys from the body; a Header is not kept with it.'

    def _stream_sentences(self, stream: Stream) -> Iterator[str]:
        if wrong := list(stream.sentences()):
            yield from wrong
            return
        if stream.partition is not None and (fault := index_fault(self.model, stream.partition.path)):
            yield f"Stream `partition_key=` {stream.partition_key!r}: {fault}"
        if self.whole:
            yield '`many="all"` cannot be kept on a Stream: records are appended one by one; say many=True.'
        if stream.dedupe:
            if self.key is None:
                yield "Stream `dedupe=` needs a key that tells what is the same; say `key=`."
            return
        if isinstance(self.key, Header):
            yield "a Stream writes no row that could tell a header key's repetition; name a field, or say dedupe=True."
        if self.keep is not None:
            yield "`keep=` is for rows; on a Stream say Stream(retention=timedelta(days=1))."
        if self._indexes:
            yield "`indexes=` find rows, and a Stream writes none; say Stream(dedupe=True), or keep them in a consumer."
        if self.read:
            yield "`read=` is for rows, and a Stream writes none; say Stream(dedupe=True), or `headgate stream read`."

    def _archive_sentences(self) -> Iterator[str]:
        if self.archive is None:
            return
        if not isinstance(self.archive, Archive):
            yield '`archive=` must be an Archive("{customer}/{id}.json").'
            return
        if wrong := list(self.archive.sentences(self.key, per_principal=self.per_principal)):
            yield from wrong
            return
        if self.stream:
            yield "`archive=` is not for a Stream, whose records rest in it; let a consumer keep what is needed."
        if self.whole and isinstance(self.delivery, Direct):
            yield '`many="all"` answers for all at once, and objects are kept one by one; say many=True, or Queued().'
        for place in self.archive.fields:
            if fault := index_fault(self.model, place.path):
                yield f"`archive=` {{{place.dotted}}}: {fault}"

    def _handler_sentences(self, handler: Handler) -> Iterator[str]:
        if isinstance(self.delivery, Direct):
            yield "a Direct channel has no handler: it only stores. Say delivery=Queued(), or remove the function."
        elif self.stream:
            if [other.name for other in self.handlers].count(handler.name) > 1 and handler is not self.handler:
                yield f"another consumer is called `{handler.name}` too; a consumer's checkpoint goes by its name."
        elif handler is not self.handler:
            yield f"it has a handler already ({self.handlers[0].where}); a channel has one."
        yield from handler.sentences()

    def _path_sentences(self) -> Iterator[str]:
        if not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            yield (
                "a path starts with / and has parts of letters, digits and . _ ~ - "
                "with one / between them and none at the end."
            )
        elif self.path == "/-" or self.path.startswith("/-/"):
            yield "paths under /-/ are headgate's own; choose another."
        elif isinstance(self.name, str) and not _NAME.fullmatch(self.name):
            yield f"the name {self.name!r} must be 1 to 64 letters, digits and _ . - ; say `name=`."

    def _model_sentences(self) -> Iterator[str]:
        """Those of the model; and, where it is good, of the key and the indexes."""
        if self.model is not None and (fault := model_fault(self.model)):
            yield fault
            return
        match self.key:
            case None:
                yield from self.made.sentences()
            case Field() as field:
                if fault := key_fault(self.model, field.path):
                    yield f"`key={field.dotted!r}`: {fault}"
            case Header(name):
                if not is_header_name(name):
                    yield f"`key=`: {name!r} cannot be the name of a header."
            case _:
                yield '`key=` must be a field name such as "id" or "meta.id", a Header(...), a Made(...), or left out.'
        yield from misfits("", {"indexes": self._indexes}, {"indexes": TEXTS})
        names = [index.name for index in self.indexes]
        for index in self.indexes:
            if fault := index_fault(self.model, index.path):
                yield f"`indexes=` {index.dotted!r}: {fault}"
            if names.count(index.name) > 1 and self.indexes.index(index) == names.index(index.name):
                yield f"`indexes=` has two fields whose last name is {index.name!r}; queries could not tell them apart."
            if index.name in ("limit", "cursor"):
                yield f"`indexes=` {index.dotted!r}: {index.name} is the name of a query parameter of every list."
        if len(names) > limits.INDEXES.value:
            yield f"`indexes=` has {len(names)} fields; {limits.INDEXES.value} are the most."
        yield from self._attribute_sentences()
        yield from self._name_sentences()

    def _name_sentences(self) -> Iterator[str]:
        """Fields that would lie under one name in the table on AWS, with each other or with what is ours."""
        named: dict[str, str] = {self.key_name: self.key.dotted if isinstance(self.key, Field) else ""}
        if isinstance(self.key, Field) and self.key.name in OWN_NAMES:
            yield f"`key={self.key.dotted!r}`: {_taken(self.key.name)}"
        options = [("indexes", field.name, field.dotted) for field in self.indexes]
        for option, name, of in options + [("attributes", it.name, it.of) for it in self.attributes]:
            if name in OWN_NAMES:
                yield f"`{option}=` {of!r}: {_taken(name)}"
            elif named.setdefault(name, of) != of and option == "attributes":
                yield f"`attributes=` {of!r}: another field of the table is called {name} too."
            elif name == self.key_name and named[name] != of:
                yield f"`indexes=` {of!r}: the key is called {name} too; they could not be told apart."

    def _attribute_sentences(self) -> Iterator[str]:
        if not isinstance(self._attributes, Mapping):
            yield from misfits("", {"attributes": self._attributes}, {"attributes": TEXTS})
        elif len(self.attributes) < len(self._attributes):
            yield '`attributes=` must be names and what they tell, as in {"s3_key": "{object}"}.'
        for it in self.attributes:
            if not it.name:
                yield "`attributes=`: an attribute needs a name."
            match it.fact:
                case None:
                    pass
                case "object" if self.archive is None:
                    yield f"`attributes=` {it.name!r}: there is no object without `archive=`."
                case "execution" if self.start is None:
                    yield f"`attributes=` {it.name!r}: there is no execution without `workflow=`."
                case fact if fact not in FACTS:
                    known = ", ".join(f"{{{one}}}" for one in FACTS)
                    yield f"`attributes=` {it.name!r}: there is no {it.of}; say a field of the body, or {known}."

    def _auth_sentences(self) -> Iterator[str]:
        match self._auth:
            case None:
                yield (
                    "say who may post: auth=ApiKey(), Jwt(...), Signed(...), Iam(), a function of yours, "
                    "or Public() for anyone."
                )
            case Jwt() | Signed() | Iam() as auth:
                yield from auth.sentences()
            case Public() | ApiKey():
                pass
            case type():
                yield f"`auth={self._auth.__name__}` is a class; say {self._auth.__name__}(...)."
            case other if not callable(other):
                yield f"`auth=` is {other!r}, which is neither an auth declaration nor a function."
            case function if not _takes_one(function):
                yield "`auth=` must be a function of one argument, the request."
        if isinstance(self._auth, Public) and self.scope == "principal":
            yield '`scope="principal"` needs an auth that knows principals; a Public channel has none.'

    def _body_sentences(self) -> Iterator[str]:
        most = self.most_bytes
        if not WHOLE.fits(self.body_limit_bytes) or not 1 <= self.body_limit_bytes <= most:
            yield (
                f"`body_limit_bytes={self.body_limit_bytes}` is not within 1 and {most}, the most that its "
                "delivery can carry on AWS (docs/limits.md)."
            )
        if self.accepted is not None and self.many:
            yield "`accepted=` must be left out of a channel with `many=`: a batch answers item by item."
        for name, shape, argument in (("accepted", self.accepted, "receipt"), ("problem", self.problem, "problem")):
            if shape is not None and not (callable(shape) and _takes_one(shape) and not iscoroutinefunction(shape)):
                yield f"`{name}=` must be a function of one argument, the {argument}, and not async."
        if not isinstance(self.stamp, Mapping) or not all(isinstance(name, str) for name in self.stamp):
            yield "`stamp=` must map field names to values or to functions that make them."


def _in_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _name_of(path: str) -> str:
    return path.strip("/").replace("/", "-") or "root" if isinstance(path, str) else ""


def _shown(attributes: object) -> tuple[Shown, ...]:
    """What of `attributes=` is as it should be; the rest is told when the channel is checked."""
    if isinstance(attributes, Mapping):
        pairs = attributes.items()
        return tuple(Shown(name, of) for name, of in pairs if isinstance(name, str) and isinstance(of, str))
    if not TEXTS.fits(attributes):
        return ()
    return tuple(Shown(Field(dotted).name, dotted) for dotted in cast("tuple[str, ...]", attributes))


def _taken(name: str) -> str:
    return f"{name} is what headgate itself calls something in the table on AWS; give the field another name."


def _takes_one(function: Callable[..., object]) -> bool:
    """Whether a function can be called with one argument; True where nothing is known of it."""
    try:
        parameters = signature(function)
    except (TypeError, ValueError):
        return True
    try:
        parameters.bind(object())
    except TypeError:
        return False
    return True
