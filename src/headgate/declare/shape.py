"""What an option may be given. Types are looked at first, so that no later check trips over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from headgate.declare.settings import Env, Secret


class Shape(NamedTuple):
    """`words` go on after "must be"."""

    words: str
    fits: Callable[[Any], bool]


def _is_setting(value: object) -> bool:
    match value:
        case str():
            return True
        case Secret(str(name)) | Env(str(name), None | str()):
            return name != ""
    return False


def _are_settings(value: object) -> bool:
    return bool(value) and all(map(_is_setting, value)) if isinstance(value, tuple) else _is_setting(value)


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


_SETTING = 'text, Secret("NAME") or Env("NAME")'

TEXT = Shape("text", lambda value: isinstance(value, str))
TEXTS = Shape('a tuple of texts, as in ("a", "b")', _are_texts)
FLAG = Shape("True or False", lambda value: isinstance(value, bool))
WHOLE = Shape("a whole number", lambda value: type(value) is int)
NUMBER = Shape("a number", lambda value: type(value) in (int, float))
SETTING = Shape(_SETTING, _is_setting)
SETTINGS = Shape(f"{_SETTING}, or a tuple of them", _are_settings)
MAYBE_SETTING = Shape(_SETTING, lambda value: value is None or _is_setting(value))


def misfits(owner: str, values: Mapping[str, object], shapes: Mapping[str, Shape]) -> Iterator[str]:
    """A sentence for each value without its shape. It tells the type alone: the value may be a secret."""
    for name, shape in shapes.items():
        if not shape.fits(values[name]):
            yield f"{owner}`{name}=` must be {shape.words}, not {_kind(values[name])}."


def given(declared: object, shapes: Mapping[str, Shape]) -> dict[str, object]:
    """The values of a declaration that have a shape."""
    return {name: getattr(declared, name) for name in shapes}


def _kind(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return f"{kind} of {', '.join(sorted({type(part).__name__ for part in value})) or 'nothing'}"
    return kind
