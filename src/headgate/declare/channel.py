"""A channel: one HTTP endpoint, with its model, key, auth, delivery and stores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from inspect import isroutine
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError, SchemaValidator

from headgate import limits
from headgate.declare.auth import ApiKey, Auth, Jwt, Public, Signed
from headgate.declare.delivery import Delivery, Direct
from headgate.declare.source import caller
from headgate.declare.stores import Field, Header
from headgate.errors import DeclarationFault
from headgate.http import Problem, Receipt, Reply

Many = bool | Literal["each", "all"]
Handler = TypeVar("Handler", bound=Callable[..., Any])

_PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.:\[\]-]+")
_ALGORITHMS = {"secret": ("HS256",), "public_key": ("RS256", "ES256"), "jwks_url": ("RS256", "ES256")}


@dataclass(frozen=True, slots=True)
class Throttle:
    """A token bucket, as API Gateway has: `rate_per_s` requests a second in the long run, `burst` at once."""

    rate_per_s: float
    burst: int


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


class Channel:
    """One endpoint of an app; made by `App.channel`."""

    def __init__(
        self,
        path: str,
        model: Any = None,
        *,
        name: str | None = None,
        key: str | Header | None = None,
        scope: Literal["channel", "principal"] = "channel",
        many: Many = False,
        auth: Auth | None = None,
        delivery: Delivery | None = None,
        indexes: tuple[str, ...] | list[str] = (),
        keep: timedelta | None = None,
        throttle: Throttle | None = None,
        cors: Cors | None = None,
        body_limit_bytes: int = limits.BODY_DEFAULT.value,
        stamp: Mapping[str, Any] | None = None,
        accepted: Callable[[Receipt], Reply | dict[str, Any]] | None = None,
        problem: Callable[[Problem], Reply | dict[str, Any]] | None = None,
        read: bool | None = None,
        description: str = "",
    ) -> None:
        self.where = caller()
        self.path = path
        self.model = model
        self.name = name if name is not None else _name_of(path)
        self.key: Field | Header | None = Field(key) if isinstance(key, str) else key
        self.scope = scope
        self.many = bool(many)
        self.whole = many == "all"
        self._many = many
        self._auth = auth
        self.delivery = delivery if delivery is not None else Direct()
        self.indexes = tuple(Field(dotted) for dotted in indexes) if isinstance(indexes, list | tuple) else ()
        self._indexes = indexes
        self.keep = keep
        self.throttle = throttle
        self.cors = cors
        self.body_limit_bytes = body_limit_bytes
        self.stamp = stamp or {}
        self.accepted = accepted
        self.problem = problem
        self.read = read if read is not None else not isinstance(auth, Public)
        self.description = description
        self.handlers: list[str] = []
        self._adapter: TypeAdapter[Any] | None = None

    def __repr__(self) -> str:
        return f"<channel {self.name} at {self.path}>"

    def __call__(self, handler: Handler) -> Handler:
        """Used as a decorator: the handler of a channel. Direct channels have none; `App.check` says so."""
        self.handlers.append(caller())
        return handler

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
    def adapter(self) -> TypeAdapter[Any] | None:
        """The model as pydantic sees it; None for any JSON."""
        if self._adapter is None and self.model is not None:
            self._adapter = TypeAdapter(self.model)
        return self._adapter

    @property
    def validator(self) -> SchemaValidator | None:
        """pydantic's compiled validator; None for any JSON."""
        return cast("SchemaValidator", self.adapter.validator) if self.adapter else None

    def faults(self) -> Iterator[DeclarationFault]:
        """Everything about this channel alone that cannot be honoured."""
        for sentence in self._sentences():
            yield DeclarationFault(self.where, f"channel {self.path}: {sentence}")
        for where in self.handlers:
            yield DeclarationFault(
                where,
                f"channel {self.path}: a Direct channel has no handler: it only stores. "
                "Remove the function (queues, which call handlers, are not in this version).",
            )

    def warnings(self) -> Iterator[DeclarationFault]:
        """What is allowed but probably not meant."""
        if self.stamp:
            yield DeclarationFault(
                self.where,
                f"channel {self.path}: nothing reads `stamp=` on a Direct channel; stored bytes are never changed.",
            )

    def _sentences(self) -> Iterator[str]:
        yield from self._path_sentences()
        yield from self._model_sentences()
        yield from self._auth_sentences()
        if not isinstance(self.delivery, Direct):
            yield f"`delivery=` is {self.delivery!r}; this version knows Direct() only."
        if self._many not in (True, False, "each", "all"):
            yield f'`many=` is {self._many!r}; say True (or "each"), "all", or leave it out.'
        if self.scope not in ("channel", "principal"):
            yield f'`scope=` is {self.scope!r}; say "channel" or "principal".'
        if self.keep is not None and (not isinstance(self.keep, timedelta) or self.keep <= timedelta(0)):
            yield "`keep=` must be a timedelta longer than nothing."
        if self.throttle is not None and not (
            isinstance(self.throttle, Throttle) and self.throttle.rate_per_s > 0 and self.throttle.burst >= 1
        ):
            yield "`throttle=` must be a Throttle(rate_per_s, burst) with a rate above 0 and a burst of at least 1."
        yield from self._body_sentences()

    def _path_sentences(self) -> Iterator[str]:
        if not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            yield (
                "a path starts with / and has parts of letters, digits and . _ ~ - "
                "with one / between them and none at the end."
            )
        elif self.path == "/-" or self.path.startswith("/-/"):
            yield "paths under /-/ are headgate's own; choose another."
        elif not _NAME.fullmatch(self.name):
            yield f"the name {self.name!r} must be 1 to 64 letters, digits and _ . - ; say `name=`."

    def _model_sentences(self) -> Iterator[str]:
        if isroutine(self.model):
            yield f"`{self.model.__name__}` is a function; the second argument is the model of the messages."
            return
        try:
            assert self.adapter is None or self.validator is not None  # noqa: S101 - builds the validator
        except (PydanticUserError, SchemaError, TypeError, ValueError) as error:
            yield f"`{self.model!r}` is not a model that pydantic can validate: {str(error).splitlines()[0]}"
            return
        if self.key is not None and not isinstance(self.key, Field | Header):
            yield '`key=` must be a field name such as "id" or "meta.id", a Header(...), or left out.'
        if isinstance(self.key, Field) and (gap := _missing_field(self.model, self.key.path)):
            yield f"`key={self.key.dotted!r}`: {gap}"
        if not isinstance(self._indexes, list | tuple):
            yield "`indexes=` must be a list of field names."
        names = [index.name for index in self.indexes]
        for index in self.indexes:
            if gap := _missing_field(self.model, index.path):
                yield f"`indexes=` {index.dotted!r}: {gap}"
            if names.count(index.name) > 1 and self.indexes.index(index) == names.index(index.name):
                yield f"`indexes=` has two fields whose last name is {index.name!r}; queries could not tell them apart."
            if index.name in ("limit", "cursor"):
                yield f"`indexes=` {index.dotted!r}: {index.name} is the name of a query parameter of every list."

    def _auth_sentences(self) -> Iterator[str]:
        match self._auth:
            case None:
                yield (
                    "say who may post: auth=ApiKey(), Jwt(...), Signed(...), a function of yours, "
                    "or Public() for anyone."
                )
            case Jwt():
                yield from _jwt_sentences(self._auth)
            case Signed():
                if self._auth.style not in get_args(
                    Signed.__annotations__["style"]
                ) and self._auth.style not in (
                    "standard",
                    "stripe",
                    "github",
                ):
                    yield f'Signed `style=` is {self._auth.style!r}; say "standard", "stripe" or "github".'
                if not self._auth.secrets:
                    yield "Signed needs at least one secret."
                if not 0 < self._auth.window_s <= limits.SIGNED_WINDOW.value:
                    yield f"Signed `window_s=` must be 1 to {limits.SIGNED_WINDOW.value} seconds."
            case Public() | ApiKey():
                pass
            case type():
                yield f"`auth={self._auth.__name__}` is a class; say {self._auth.__name__}(...)."
            case other if not callable(other):
                yield f"`auth=` is {other!r}, which is neither an auth declaration nor a function."
        if isinstance(self._auth, Public) and self.scope == "principal":
            yield '`scope="principal"` needs an auth that knows principals; a Public channel has none.'

    def _body_sentences(self) -> Iterator[str]:
        most = limits.DIRECT_BODY.value
        if not isinstance(self.body_limit_bytes, int) or not 1 <= self.body_limit_bytes <= most:
            yield (
                f"`body_limit_bytes={self.body_limit_bytes}` is not within 1 and {most}, the most that a Direct "
                "channel can carry on AWS (docs/limits.md)."
            )
        if self.cors is not None and not (
            isinstance(self.cors, Cors)
            and self.cors.origins
            and all(map(_ORIGIN.fullmatch, self.cors.origins))
        ):
            yield '`cors=` must be Cors(("https://example.com",)): origins without a path, or "*".'
        if self.accepted is not None and (not callable(self.accepted) or self.many):
            yield "`accepted=` must be a function, on a channel without `many=`: a batch answers item by item."
        if self.problem is not None and not callable(self.problem):
            yield "`problem=` must be a function of the problem."
        if not isinstance(self.stamp, Mapping) or not all(isinstance(name, str) for name in self.stamp):
            yield "`stamp=` must map field names to values or to functions that make them."


def _name_of(path: str) -> str:
    return path.strip("/").replace("/", "-") or "root" if isinstance(path, str) else ""


def _jwt_sentences(auth: Jwt) -> Iterator[str]:
    given = [name for name in _ALGORITHMS if getattr(auth, name) is not None]
    if len(given) != 1:
        yield "Jwt needs exactly one of secret, public_key and jwks_url."
        return
    allowed = _ALGORITHMS[given[0]]
    if wrong := [name for name in auth.algorithms if name not in allowed]:
        yield f"Jwt with {given[0]} takes the algorithms {', '.join(allowed)}; {', '.join(wrong)} is not among them."
    if not 0 <= auth.leeway_s <= limits.JWT_LEEWAY.value:
        yield f"Jwt `leeway_s=` must be 0 to {limits.JWT_LEEWAY.value}."
    for name in ("issuer", "audience"):
        if not getattr(auth, name):
            yield f"Jwt needs `{name}=`: a token made for someone else must not open this channel."


def jwt_algorithms(auth: Jwt) -> tuple[str, ...]:
    """The algorithms a token may be signed with: the declared ones, else all that fit the kind of key."""
    return auth.algorithms or next(
        allowed for name, allowed in _ALGORITHMS.items() if getattr(auth, name) is not None
    )


def _missing_field(model: Any, path: tuple[str, ...]) -> str | None:
    """Why a body of this model cannot have a value at `path`; None where it can, or where nothing is known."""
    if not all(path):
        return "a field is named by its names with dots between them."
    for depth, name in enumerate(path):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        names = {
            sent: field.annotation
            for field_name, field in model.model_fields.items()
            for sent in _sent_names(model, field_name)
        }
        if name not in names:
            if model.model_config.get("extra") == "allow":
                return None
            inside = f" in {'.'.join(path[:depth])}" if depth else ""
            return f"{model.__name__} has no field {name!r}{inside}; it has {', '.join(sorted(names)) or 'none'}."
        model = names[name]
    return None


def _sent_names(model: type[BaseModel], field_name: str) -> list[str]:
    """The names under which a field is sent."""
    field = model.model_fields[field_name]
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    match field.validation_alias:
        case None:
            return [field_name]
        case str() as alias:
            names = [alias]
        case AliasChoices() as choices:
            names = [str(_first(choice)) for choice in choices.choices]
        case AliasPath() as alias_path:
            names = [str(alias_path.path[0])]
    return [*names, field_name] if by_name else names


def _first(choice: str | AliasPath) -> str | int:
    return choice if isinstance(choice, str) else choice.path[0]
