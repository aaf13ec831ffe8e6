"""What DynamoDB makes of items and expressions: values with their types, conditions, updates."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from headgate import limits
from headgate.declare.item_expressions import (
    Among,
    Asked,
    Between,
    Both,
    Compared,
    Condition,
    Either,
    Given,
    IfNotExists,
    Joined,
    Not,
    Operand,
    Part,
    Place,
    Size,
    Summed,
    Update,
    Value,
)
from headgate.declare.table import Table

Attribute = Mapping[str, Any]
Item = dict[str, Any]

_DIGITS = 38
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBERS = Context(prec=_DIGITS + 2, traps=[InvalidOperation])  # what overflows is infinite, and refused below
_SETS = {"SS": "S", "NS": "N", "BS": "B"}
_DEEP = 32
_ORDERED = ("S", "N", "B")


class Refused(Exception):
    """What DynamoDB would not do: the code of its error, and what it says."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence


def _invalid(sentence: str) -> Refused:
    return Refused("ValidationException", sentence)


# --------------------------------------------------------------------------------------------------------------- values


def whole(given: Any, where: str) -> Item:
    """Attributes as they are kept: numbers in one way of writing. Raises Refused for what is no item."""
    if not isinstance(given, Mapping):
        raise _shape(where, "a MAP")
    return {str(name): _value(one, f"{where}.{name}", 0) for name, one in given.items()}


def keyed(table: Table, item: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The values of an item's key. Raises Refused where it has none, or is too large."""
    if where == "Key" and item.keys() != {*table.keys}:
        raise _invalid("The provided key element does not match the schema")
    found = []
    for name in table.keys:
        match item.get(name):
            case {"S": ""}:
                told = f"The AttributeValue for a key attribute cannot contain an empty string value. Key: {name}"
                raise _invalid(f"One or more parameter values are not valid. {told}")
            case {"S": str(text)}:
                found.append(text)
            case None:
                raise _invalid(f"One or more parameter values were invalid: Missing the key {name} in the item")
            case other:
                told = f"Type mismatch for key {name} expected: S actual: {next(iter(other))}"
                raise _invalid(f"One or more parameter values were invalid: {told}")
    if sum(len(name.encode()) + _size_bytes(value) for name, value in item.items()) > limits.ITEM.value:
        raise _invalid("Item size has exceeded the maximum allowed size")
    return found[0], found[1] if len(found) > 1 else ""


def _value(given: Any, where: str, depth: int) -> dict[str, Any]:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise _shape(where, "a MAP with one type")
    if depth > _DEEP:
        raise _invalid("Nesting Levels have exceeded supported limits")
    kind, held = next(iter(given.items()))
    match kind, held:
        case "S", str():
            return {"S": held}
        case "N", str():
            return {"N": _number(held)}
        case "B", str():
            return {"B": _bytes(held)}
        case ("BOOL", bool()) | ("NULL", True):
            return {kind: held}
        case "M", Mapping():
            return {"M": {str(name): _value(one, f"{where}.{name}", depth + 1) for name, one in held.items()}}
        case "L", list():
            return {"L": [_value(one, where, depth + 1) for one in held]}
        case (("SS" | "NS" | "BS"), list()):
            return {kind: _set(kind, held, where)}
    kinds = {"BOOL": "a BOOLEAN", "NULL": "true", "M": "a MAP", **dict.fromkeys(("L", *_SETS), "a LIST")}
    if kind in kinds or kind in _ORDERED:
        raise _shape(f"{where}.{kind}", kinds.get(kind, "a STRING"))
    raise _shape(where, "one of the types of DynamoDB")


def _set(kind: str, held: list[Any], where: str) -> list[str]:
    one = _SETS[kind]
    members = [str(_value({one: member}, where, 0)[one]) for member in held]
    if not members:
        raise _invalid("One or more parameter values were invalid: An set may not be empty")
    if len(set(members)) < len(members):
        raise _invalid("One or more parameter values were invalid: Input collection contains duplicates.")
    return members


def _number(text: str) -> str:
    try:
        found = Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:  # an exponent that is too large
        found = None
    if found is None:
        raise _invalid(f"The parameter cannot be converted to a numeric value: {text}")
    return _written(found)


def _written(number: Decimal) -> str:
    if not number:
        return "0"
    plain = _NUMBERS.normalize(number)
    if len(plain.as_tuple().digits) > _DIGITS:
        raise _invalid("Attempting to store more than 38 significant digits in a Number")
    if plain.is_infinite() or plain.adjusted() > 125:
        raise _invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if not plain or plain.adjusted() < -130:
        raise _invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    return f"{plain:f}"


def _bytes(text: str) -> str:
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except binascii.Error:
        raise _invalid("Base64 encoded length is unexpected, or it is no base64") from None


def _shape(where: str, meant: str) -> Refused:
    return Refused("States.Runtime", f"The value for the field '{where}' must be {meant}")


def _size_bytes(value: Attribute) -> int:
    kind, held = next(iter(value.items()))
    match kind:
        case "S":
            return len(held.encode())
        case "N":
            return len(held.strip("-").replace(".", "").strip("0")) // 2 + 2
        case "B":
            return len(held) * 3 // 4
        case "SS" | "NS" | "BS":
            return sum(_size_bytes({_SETS[kind]: member}) for member in held)
        case "L":
            return 3 + sum(1 + _size_bytes(one) for one in held)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size_bytes(one) for name, one in held.items())
    return 1


# ----------------------------------------------------------------------------------------------------------- conditions


def holds(asked: Condition, item: Item, values: Mapping[str, Attribute]) -> bool:
    """Whether a condition holds for an item, which is empty where there is none."""
    match asked:
        case Both(one, other):
            return holds(one, item, values) and holds(other, item, values)
        case Either(one, other):
            return holds(one, item, values) or holds(other, item, values)
        case Not(one):
            return not holds(one, item, values)
        case Compared(how, left, right):
            return _compared(how, _operand(left, item, values), _operand(right, item, values))
        case Between(operand, low, high):
            middle = _operand(operand, item, values)
            above = _compared(">=", middle, _operand(low, item, values))
            return above and _compared("<=", middle, _operand(high, item, values))
        case Among(operand, options):
            found = _operand(operand, item, values)
            return any(_compared("=", found, _operand(one, item, values)) for one in options)
        case Asked(function, place, argument):
            given = None if argument is None else _operand(argument, item, values)
            return _asked(function, _at(place, item), given)


def _asked(function: str, found: Attribute | None, given: Attribute | None) -> bool:
    match function:
        case "attribute_exists":
            return found is not None
        case "attribute_not_exists":
            return found is None
    if found is None or given is None:
        return False
    kind, held = next(iter(found.items()))
    asked, argument = next(iter(given.items()))
    match function:
        case "attribute_type":
            return bool(kind == argument)
        case "begins_with":
            if kind == asked == "B":
                return base64.b64decode(held).startswith(base64.b64decode(argument))
            return kind == asked == "S" and str(held).startswith(str(argument))
    if kind in _SETS:  # contains
        return bool(_SETS[kind] == asked and argument in held)
    if kind == asked == "S":
        return bool(argument in held)
    return kind == "L" and any(_compared("=", one, given) for one in held)


def _compared(how: str, left: Attribute | None, right: Attribute | None) -> bool:
    if left is None or right is None:
        return how == "<>" and (left is None) != (right is None)
    (kind, one), (other_kind, other) = next(iter(left.items())), next(iter(right.items()))
    if how in ("=", "<>"):
        return bool((_plain(left) == _plain(right)) == (how == "="))
    if kind != other_kind or kind not in _ORDERED:
        return False
    lower, higher = _rank(kind, one), _rank(kind, other)
    match how:
        case "<":
            return bool(lower < higher)
        case "<=":
            return bool(lower <= higher)
        case ">":
            return bool(lower > higher)
    return bool(lower >= higher)


def _rank(kind: str, held: str) -> Any:
    match kind:
        case "N":
            return Decimal(held)
        case "B":
            return base64.b64decode(held)
    return held.encode()


def _plain(value: Attribute) -> Any:
    """What is equal where the values are: the order of a set counts for nothing."""
    kind, held = next(iter(value.items()))
    match kind:
        case "SS" | "NS" | "BS":
            return kind, frozenset(held)
        case "M":
            return kind, {name: _plain(one) for name, one in held.items()}
        case "L":
            return kind, [_plain(one) for one in held]
    return kind, held


def _operand(operand: Operand, item: Item, values: Mapping[str, Attribute]) -> Attribute | None:
    match operand:
        case Given(name):
            return values[name]
        case Place():
            return _at(operand, item)
        case Size(place):
            return _measured(_at(place, item))


def _measured(found: Attribute | None) -> Attribute | None:
    if found is None:
        return None
    kind, held = next(iter(found.items()))
    match kind:
        case "S":
            return {"N": str(len(held))}
        case "B":
            return {"N": str(len(base64.b64decode(held)))}
        case "SS" | "NS" | "BS" | "L" | "M":
            return {"N": str(len(held))}
    return None


def _at(place: Place, item: Item) -> Attribute | None:
    found: Any = {"M": item}
    for step in place.steps:
        match step, found:
            case str(), {"M": held} if step in held:
                found = held[step]
            case int(), {"L": held} if step < len(held):
                found = held[step]
            case _:
                return None
    return found  # type: ignore[no-any-return]


# -------------------------------------------------------------------------------------------------------------- updates


def updated(item: Item, asked: Update, values: Mapping[str, Attribute]) -> Item:
    """The item with the changes made; what they read is as it was before all of them. Raises Refused."""
    made = copy.deepcopy(item)
    sets = [(place, _made(value, item, values)) for place, value in asked.sets]
    sets += [(place, _added(_at(place, item), values[given.name])) for place, given in asked.adds]
    # Beyond the end of a list values follow each other in the order of their numbers.
    for place, value in sorted(sets, key=lambda one: _rank_of(one[0])):
        _put(made, place, value)
    gone = [*asked.removes]
    for place, given in asked.deletes:
        left = _without(_at(place, item), values[given.name])
        if left:
            _put(made, place, left)
        else:
            gone.append(place)
    # From the end of a list on, so that what is removed moves nothing that is to be removed too.
    for place in sorted(gone, key=_rank_of, reverse=True):
        _remove(made, place)
    return made


def _made(value: Value, item: Item, values: Mapping[str, Attribute]) -> Attribute:
    if not isinstance(value, Summed):
        return _part(value, item, values)
    left, right = _part(value.left, item, values), _part(value.right, item, values)
    if "N" not in left or "N" not in right:
        raise _invalid("An operand in the update expression has an incorrect data type")
    one, other = Decimal(left["N"]), Decimal(right["N"])
    return {"N": _written(_NUMBERS.add(one, other) if value.how == "+" else _NUMBERS.subtract(one, other))}


def _part(part: Part, item: Item, values: Mapping[str, Attribute]) -> Attribute:
    match part:
        case IfNotExists(place, otherwise):
            found = _at(place, item)
            return _part(otherwise, item, values) if found is None else found
        case Joined(one, other):
            left, right = _part(one, item, values), _part(other, item, values)
            if "L" not in left or "L" not in right:
                raise _invalid("An operand in the update expression has an incorrect data type")
            return {"L": [*left["L"], *right["L"]]}
    found = _operand(part, item, values)
    if found is None:
        raise _invalid("The provided expression refers to an attribute that does not exist in the item")
    return found


def _added(found: Attribute | None, given: Attribute) -> Attribute:
    kind, held = next(iter(given.items()))
    if kind != "N" and kind not in _SETS:
        raise _invalid(f"Incorrect operand type for operator or function; operator: ADD, operand type: {kind}")
    if found is None:
        return given
    if kind not in found:
        raise _invalid("An operand in the update expression has an incorrect data type")
    if kind == "N":
        return {"N": _written(_NUMBERS.add(Decimal(found["N"]), Decimal(held)))}
    return {kind: [*found[kind], *(member for member in held if member not in found[kind])]}


def _without(found: Attribute | None, given: Attribute) -> Attribute | None:
    kind, held = next(iter(given.items()))
    if kind not in _SETS:
        raise _invalid(f"Incorrect operand type for operator or function; operator: DELETE, operand type: {kind}")
    if found is None:
        return None
    if kind not in found:
        raise _invalid("An operand in the update expression has an incorrect data type")
    left = [member for member in found[kind] if member not in held]
    return {kind: left} if left else None


def _put(item: Item, place: Place, value: Attribute) -> None:
    parent, last = _parent(item, place), place.steps[-1]
    match parent, last:
        case {"M": held}, str():
            held[last] = value
        case {"L": held}, int():
            held[last : last + 1] = [value]
        case _:
            raise _invalid("The document path provided in the update expression is invalid for update")


def _remove(item: Item, place: Place) -> None:
    parent, last = _parent(item, place), place.steps[-1]
    match parent, last:
        case {"M": held}, str():
            held.pop(last, None)
        case {"L": held}, int():
            del held[last : last + 1]
        case _:
            raise _invalid("The document path provided in the update expression is invalid for update")


def _parent(item: Item, place: Place) -> Attribute | None:
    return {"M": item} if len(place.steps) == 1 else _at(Place(place.steps[:-1]), item)


def _rank_of(place: Place) -> list[tuple[bool, Any]]:
    return [(isinstance(step, int), step) for step in place.steps]
