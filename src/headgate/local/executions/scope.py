"""What a state's fields can see: its input, the context object and the variables, in either query language."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from headgate.declare.asl_fields import is_expression
from headgate.declare.intrinsics import call, is_call
from headgate.declare.paths import NoSuchPath, Path, path, read
from headgate.local.executions.intrinsics import compute
from headgate.local.executions.jsonata import evaluate, wrong_type
from headgate.local.executions.state import Fault, text

_NOTHING = object()


class Scope:
    """The eyes of one state. `states` is what JSONata sees as `$states`, without the context."""

    def __init__(
        self,
        context: Mapping[str, Any],
        variables: Mapping[str, Any],
        chance: random.Random,
        *,
        jsonata: bool,
        states: Mapping[str, Any],
    ) -> None:
        self.context = context
        self.variables = variables
        self.chance = chance
        self.jsonata = jsonata
        self.states = states

    def value(self, template: Any, field: str, document: Any) -> Any:
        """What a field's template stands for; in JSONPath, paths are read from `document`."""
        if self.jsonata:
            return self._evaluated(template, field)
        return self._filled(template, document)

    def at(self, where: str, field: str, document: Any) -> Any:
        """What a path or call leads to. Raises Fault States.Runtime where that is nothing."""
        if is_call(where):
            return self._called(where, document)
        try:
            return self._read(path(where), document)
        except NoSuchPath:
            raise Fault(
                "States.Runtime",
                f"The JSONPath '{where}' specified for the field '{field}' could not be found in the input "
                f"'{text(document)}'",
            ) from None

    def find(self, where: str, document: Any) -> Any:
        """What a path leads to. Raises NoSuchPath where that is nothing."""
        return self._called(where, document) if is_call(where) else self._read(path(where), document)

    def selected(self, where: str | None, field: str, document: Any) -> Any:
        """InputPath and OutputPath: null selects an empty object."""
        if where == "$":
            return document
        if where is None:
            return {}
        try:
            return self._read(path(where), document)
        except NoSuchPath:
            raise Fault("States.Runtime", f"Invalid path '{where}': it leads nowhere in {field}") from None

    def number(self, state: Mapping[str, Any], field: str, document: Any, *, default: Any = None) -> Any:
        """A number from `field`, or, by a path, from `fieldPath`. Raises Fault where it is none."""
        if field + "Path" in state:
            found = self.at(state[field + "Path"], field + "Path", document)
            if not _is_number(found):
                raise Fault("States.Runtime", f"The {field}Path parameter does not reference a number: {text(found)}")
            return found
        if field not in state:
            return default
        found = self.value(state[field], field, document) if self.jsonata else state[field]
        if not _is_number(found):
            raise self.mistyped(state[field], field, "number", found)
        return found

    def mistyped(self, template: Any, field: str, expected: str, value: Any) -> Fault:
        """The fault of a field whose value has the wrong type."""
        if self.jsonata and is_expression(template):
            return wrong_type(_expression(template), field, expected, value)
        return Fault("States.Runtime", f"The field '{field}' needs a {expected}, but has: {text(value)}")

    def _evaluated(self, template: Any, field: str) -> Any:
        match template:
            case str() if is_expression(template):
                bindings = {**self.variables, "states": {**self.states, "context": self.context}}
                return evaluate(_expression(template), field, bindings, self.chance)
            case dict():
                return {key: self._evaluated(member, f"{field}/{key}") for key, member in template.items()}
            case list():
                return [self._evaluated(member, f"{field}[{index}]") for index, member in enumerate(template)]
            case _:
                return template

    def _filled(self, template: Any, document: Any) -> Any:
        match template:
            case dict():
                return dict(self._member(key, member, document) for key, member in template.items())
            case list():
                return [self._filled(member, document) for member in template]
            case _:
                return template

    def _member(self, key: str, member: Any, document: Any) -> tuple[str, Any]:
        if key.endswith(".$"):
            return key[:-2], self.at(member, key, document)
        return key, self._filled(member, document)

    def _called(self, where: str, document: Any) -> Any:
        def look_up(argument: Path) -> Any:
            try:
                return self._read(argument, document)
            except NoSuchPath:
                raise Fault(
                    "States.Runtime",
                    f"The JsonPath argument for the field '{argument.text}' could not be found in the input "
                    f"'{text(document)}'",
                ) from None

        return compute(call(where), look_up, self.chance)

    def _read(self, where: Path, document: Any) -> Any:
        match where.root:
            case "input":
                return read(where, document)
            case "context":
                return read(where, self.context)
        value = self.variables.get(where.variable, _NOTHING)
        if value is _NOTHING:
            raise NoSuchPath(where.text)
        return read(where, value)


def _expression(template: str) -> str:
    return template[2:-2].strip()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
