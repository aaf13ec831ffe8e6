"""Expressions of DynamoDB as workflows write them, read into a tree: what both engines carry out alike, and no more.

Attributes are written as `#name`, which `ExpressionAttributeNames` resolves, since DynamoDB refuses hundreds of words
as they stand; values as `:name`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn

Comparator = Literal["=", "<>", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Place:
    """An attribute, or a place in a map or a list: names and numbers."""

    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A value that is handed in, `:name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Size:
    """`size(place)`."""

    place: Place


Operand = Place | Given | Size


@dataclass(frozen=True, slots=True)
class Compared:
    """`left = right` and the like."""

    how: Comparator
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    """`operand BETWEEN low AND high`."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """`operand IN (one, other)`."""

    operand: Operand
    options: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """`attribute_exists(place)` and the other functions that are true or false."""

    function: str
    place: Place
    argument: Operand | None = None


@dataclass(frozen=True, slots=True)
class Both:
    """`one AND other`."""

    one: Condition
    other: Condition


@dataclass(frozen=True, slots=True)
class Either:
    """`one OR other`."""

    one: Condition
    other: Condition


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT one`."""

    one: Condition


Condition = Compared | Between | Among | Asked | Both | Either | Not


@dataclass(frozen=True, slots=True)
class IfNotExists:
    """`if_not_exists(place, otherwise)`."""

    place: Place
    otherwise: Operand


@dataclass(frozen=True, slots=True)
class Joined:
    """`list_append(one, other)`."""

    one: Part
    other: Part


@dataclass(frozen=True, slots=True)
class Summed:
    """`left + right`, `left - right`."""

    how: Literal["+", "-"]
    left: Part
    right: Part


Part = Operand | IfNotExists | Joined
Value = Part | Summed


@dataclass(frozen=True, slots=True)
class Update:
    """What becomes of an item. `adds` and `deletes` name the values."""

    sets: tuple[tuple[Place, Value], ...] = ()
    removes: tuple[Place, ...] = ()
    adds: tuple[tuple[Place, Given], ...] = ()
    deletes: tuple[tuple[Place, Given], ...] = ()

    @property
    def places(self) -> list[Place]:
        """Every place that is changed."""
        return [place for place, _ in (*self.sets, *self.adds, *self.deletes)] + [*self.removes]


@dataclass
class Used:
    """Which names and values an expression needs."""

    names: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


def condition(text: str, names: Mapping[str, str], used: Used | None = None) -> Condition:
    """A ConditionExpression. Raises ValueError with the reason where it cannot be read."""
    reader = _Reader(text, names, used or Used())
    found = _either(reader)
    reader.end()
    return found


def update(text: str, names: Mapping[str, str], used: Used | None = None) -> Update:
    """An UpdateExpression. Raises ValueError with the reason where it cannot be read."""
    reader = _Reader(text, names, used or Used())
    found = _update(reader)
    reader.end()
    steps = [place.steps for place in found.places]
    for at, one in enumerate(steps):
        for other in steps[at + 1 :]:
            if one[: len(other)] == other[: len(one)]:
                raise ValueError("two of its places overlap")
    return found


# ------------------------------------------------------------------------------------------------------------- reading

_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>(),.+\[\]-])|([:#]?\w+))")
_TESTS = {
    "attribute_exists": 0,
    "attribute_not_exists": 0,
    "attribute_type": 1,
    "begins_with": 1,
    "contains": 1,
}
_COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")


class _Reader:
    """The tokens of an expression, one after the other."""

    def __init__(self, text: str, names: Mapping[str, str], used: Used) -> None:
        self._tokens = list(_tokens(text))
        self._names = names
        self.at = 0
        self.used = used

    @property
    def next(self) -> str:
        """The token that comes; empty at the end."""
        return self._tokens[self.at] if self.at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def taken(self, *tokens: str) -> str:
        """The token that comes, if it is one of these, in capitals or not; else nothing is taken."""
        return self.take() if self.next.upper() in tokens else ""

    def need(self, token: str) -> None:
        if self.next.upper() != token:
            self.refuse(f"{token} is missing")
        self.take()

    def refuse(self, why: str) -> NoReturn:
        raise ValueError(f"{why} {f'before {self.next!r}' if self.next else 'at the end'}")

    def encloses(self, begin: int, end: int) -> bool:
        """Whether the tokens from `begin` up to `end` are one pair of parentheses and what is between."""
        depth = 0
        for at in range(begin, end):
            depth += (self._tokens[at] == "(") - (self._tokens[at] == ")")
            if depth == 0:
                return at == end - 1 and self._tokens[begin] == "("
        return False

    def end(self) -> None:
        if self.next:
            self.refuse("something is missing, or too much,")

    def place(self) -> Place:
        steps: list[str | int] = [self._name()]
        while self.next in (".", "["):
            if self.take() == ".":
                steps.append(self._name())
                continue
            number = self.take()
            if not (number.isascii() and number.isdigit()):
                self.refuse("the number of an element is missing")
            steps.append(int(number))
            self.need("]")
        return Place(tuple(steps))

    def _name(self) -> str:
        if not self.next.startswith("#"):
            self.refuse("an attribute has to be written as #name, with ExpressionAttributeNames,")
        token = self.take()
        if token not in self._names:
            raise ValueError(f"{token} is not in ExpressionAttributeNames")
        self.used.names.add(token)
        return self._names[token]

    def given(self) -> Given:
        if not self.next.startswith(":"):
            self.refuse("a value has to be written as :name, with ExpressionAttributeValues,")
        self.used.values.add(self.next)
        return Given(self.take())

    def operand(self) -> Operand:
        if self.taken("SIZE"):
            self.need("(")
            place = self.place()
            self.need(")")
            return Size(place)
        return self.given() if self.next.startswith(":") else self.place()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text[at:].strip()[0]!r} is not understood")
        yield found[1] or found[2]
        at = found.end()


def _either(reader: _Reader) -> Condition:
    found = _both(reader)
    while reader.taken("OR"):
        found = Either(found, _both(reader))
    return found


def _both(reader: _Reader) -> Condition:
    found = _one(reader)
    while reader.taken("AND"):
        found = Both(found, _one(reader))
    return found


def _one(reader: _Reader) -> Condition:
    if reader.taken("NOT"):
        return Not(_one(reader))
    if reader.taken("("):
        return _within(reader)
    if reader.next in _TESTS:
        return _asked(reader)
    left = reader.operand()
    if reader.taken("BETWEEN"):
        low = reader.operand()
        reader.need("AND")
        return Between(left, low, reader.operand())
    if reader.taken("IN"):
        reader.need("(")
        options = [reader.operand()]
        while reader.taken(","):
            options.append(reader.operand())
        reader.need(")")
        return Among(left, tuple(options))
    if reader.next not in _COMPARATORS:
        reader.refuse("a comparison is missing")
    how: Comparator = reader.take()  # type: ignore[assignment] # it is one of them
    return Compared(how, left, reader.operand())


def _within(reader: _Reader) -> Condition:
    begun, found = reader.at, _either(reader)
    reader.need(")")
    if reader.encloses(begun, reader.at - 1):
        raise ValueError("it has redundant parentheses, which DynamoDB does not take")
    return found


def _asked(reader: _Reader) -> Asked:
    function = reader.take()
    reader.need("(")
    place = reader.place()
    argument = None
    if _TESTS[function]:
        reader.need(",")
        argument = reader.given() if function == "attribute_type" else reader.operand()
    reader.need(")")
    return Asked(function, place, argument)


def _update(reader: _Reader) -> Update:
    clauses: dict[str, Callable[[_Reader], object]] = {
        "SET": _set,
        "REMOVE": _Reader.place,
        "ADD": _by,
        "DELETE": _by,
    }
    found: dict[str, tuple[object, ...]] = {}
    while reader.next:
        clause = reader.taken(*clauses)
        if not clause:
            reader.refuse("SET, REMOVE, ADD or DELETE is missing")
        if clause.upper() in found:
            raise ValueError(f"{clause.upper()} stands in it twice")
        changes = [clauses[clause.upper()](reader)]
        while reader.taken(","):
            changes.append(clauses[clause.upper()](reader))
        found[clause.upper()] = tuple(changes)
    if not found:
        raise ValueError("it is empty")
    return Update(*(found.get(clause, ()) for clause in clauses))  # type: ignore[arg-type] # each clause has its own


def _set(reader: _Reader) -> tuple[Place, Value]:
    place = reader.place()
    reader.need("=")
    left = _part(reader)
    how = reader.taken("+", "-")
    return place, Summed(how, left, _part(reader)) if how else left  # type: ignore[arg-type] # + or -


def _part(reader: _Reader) -> Part:
    if reader.taken("IF_NOT_EXISTS"):
        reader.need("(")
        place = reader.place()
        reader.need(",")
        otherwise = reader.operand()
        reader.need(")")
        return IfNotExists(place, otherwise)
    if reader.taken("LIST_APPEND"):
        reader.need("(")
        one = _part(reader)
        reader.need(",")
        other = _part(reader)
        reader.need(")")
        return Joined(one, other)
    if reader.next.upper() == "SIZE":
        reader.refuse("size() is for conditions; something else is needed")
    return reader.operand()


def _by(reader: _Reader) -> tuple[Place, Given]:
    place = reader.place()
    return place, reader.given()
