"""A channel's model: whether pydantic can validate it, and what its fields are good for."""

from __future__ import annotations

from dataclasses import is_dataclass
from enum import Enum
from inspect import isroutine
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, FailFast, RootModel, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import SchemaError

_NO_FIELDS = (list, tuple, set, frozenset, str, int, float)
_NO_INDEX = (list, tuple, set, frozenset, dict, BaseModel)
_NO_KEY = (*_NO_INDEX, bool, float)


def adapter_of(model: Any) -> TypeAdapter[Any]:
    """The model as pydantic sees it, with everything it refers to. Raises what pydantic raises."""
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    if not adapter.pydantic_complete:
        adapter.rebuild()
    return adapter


def adapter_of_many(model: Any) -> TypeAdapter[Any]:
    """An array of the model; validation ends at the first item that is at fault."""
    return adapter_of(Annotated[list[model], FailFast()])


def model_fault(model: Any) -> str | None:
    """Why messages cannot be validated by `model`, as a sentence."""
    if isroutine(model):
        return f"`{model.__name__}` is a function; the second argument is the model of the messages."
    if isinstance(model, str):
        return f"the model is the text {model!r}; pass the class itself."
    if isinstance(model, BaseModel) or (is_dataclass(model) and not isinstance(model, type)):
        return f"the model is an instance; pass the class {type(model).__name__}, not an instance."
    try:
        adapter_of(model)
    except PydanticUndefinedAnnotation as error:
        return f"`{_called(model)}` refers to `{error.name}`, which is not defined."
    except PydanticSchemaGenerationError as error:
        if isinstance(model, type):
            return f"`{model.__name__}` is not a pydantic model; derive it from BaseModel."
        return f"`{model!r}` is not a pydantic model: {_first_line(error)}"
    except (PydanticUserError, SchemaError, TypeError, ValueError) as error:
        return f"`{_called(model)}` is not a model that pydantic can validate: {_first_line(error)}"
    return None


def key_fault(model: Any, path: tuple[str, ...]) -> str | None:
    """Why no body of this model has a key at `path`; None where one may, or where nothing is known."""
    return _place_fault(model, path, _NO_KEY, "a key is a string or an integer")


def index_fault(model: Any, path: tuple[str, ...]) -> str | None:
    """Why no body of this model can be found by the value at `path`; None as above."""
    return _place_fault(model, path, _NO_INDEX, "an index holds strings, numbers, true and false")


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'aeio' else 'a'} {kind.__name__}"


def _place_fault(model: Any, path: tuple[str, ...], unfit: tuple[type, ...], rule: str) -> str | None:
    if not all(path):
        return "a field is named by its names with dots between them."
    for depth, name in enumerate(path):
        if not _is_model(model):
            kind = get_origin(model) or model
            if not _is_unfit(kind, _NO_FIELDS):
                return None
            if depth:
                return f"{'.'.join(path[:depth])} is {_a(kind)}, and nothing in it has the name {name!r}."
            return f"the model is {_a(kind)}, which has no fields; for arrays say the item's model and many=True."
        fields = sent_fields(model)
        if name not in fields:
            if model.model_config.get("extra") == "allow":
                return None
            inside = f" in {'.'.join(path[:depth])}" if depth else ""
            return f"{model.__name__} has no field {name!r}{inside}; it has {', '.join(sorted(fields)) or 'none'}."
        kinds = _kinds(fields[name])
        model = kinds[0] if len(kinds) == 1 else None
    if path and kinds and all(_is_unfit(kind, unfit) for kind in kinds):
        return f"{rule}, and {'.'.join(path)} is a {' or a '.join(kind.__name__ for kind in kinds)}."
    return None


def few_values(model: Any, path: tuple[str, ...]) -> int | None:
    """How many values there are at `path`, where they are told one by one: true and false, an enum, a Literal."""
    for name in path:
        if not _is_model(model) or name not in sent_fields(model):
            return None
        model = sent_fields(model)[name]
    return _values(model)


def _values(annotation: Any) -> int | None:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _values(get_args(annotation)[0])
    if origin is Literal:
        return len(get_args(annotation))
    if origin in (Union, UnionType):
        counts = [_values(part) for part in get_args(annotation)]
        return None if None in counts else sum(count for count in counts if count)
    if annotation is NoneType:
        return 1
    if annotation is bool:
        return 2
    return len(annotation) if isinstance(annotation, type) and issubclass(annotation, Enum) else None


def _kinds(annotation: Any) -> list[Any]:
    """The types that a field plainly takes, less None and what stands in brackets."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [] if annotation is NoneType else [origin or annotation]


def _is_model(kind: Any) -> bool:
    # A RootModel travels as what it holds.
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel)


def _is_unfit(kind: Any, unfit: tuple[type, ...]) -> bool:
    return isinstance(kind, type) and issubclass(kind, unfit) and not issubclass(kind, RootModel)


def sent_fields(model: type[BaseModel]) -> dict[str, Any]:
    """The annotation of each field, by the names under which it is sent."""
    return {
        sent: field.annotation
        for field_name, field in model.model_fields.items()
        for sent in _sent_names(model, field_name)
    }


def _sent_names(model: type[BaseModel], field_name: str) -> list[str]:
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


def _called(model: Any) -> str:
    return model.__name__ if isinstance(model, type) else repr(model)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
