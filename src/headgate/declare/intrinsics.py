"""Intrinsic functions as workflows write them: `States.Format('{} of {}', $.done, $.all)`, read into a tree."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from headgate.declare.paths import Path, path

# The number of arguments each function takes: at least, at most.
FUNCTIONS: dict[str, tuple[int, int]] = {
    "States.Format": (1, 999),
    "States.StringToJson": (1, 1),
    "States.JsonToString": (1, 1),
    "States.Array": (0, 999),
    "States.ArrayPartition": (2, 2),
    "States.ArrayContains": (2, 2),
    "States.ArrayRange": (3, 3),
    "States.ArrayGetItem": (2, 2),
    "States.ArrayLength": (1, 1),
    "States.ArrayUnique": (1, 1),
    "States.Base64Encode": (1, 1),
    "States.Base64Decode": (1, 1),
    "States.Hash": (2, 2),
    "States.JsonMerge": (3, 3),
    "States.MathRandom": (2, 3),
    "States.MathAdd": (2, 2),
    "States.StringSplit": (2, 2),
    "States.UUID": (0, 0),
}
_DEEPEST = 10  # calls within calls, as AWS bounds them
_NAME = re.compile(r"States\.[A-Za-z0-9]+")
_WORD = re.compile(r"[^\s,()']+")
_BLANK = re.compile(r"\s*")


class Call(NamedTuple):
    """A call and its arguments: calls, paths, or plain values wrapped in Literal."""

    name: str
    arguments: tuple[Call | Path | Literal, ...]
    text: str


class Literal(NamedTuple):
    """A plain value; of a string, with its escapes resolved except those of braces, which States.Format reads."""

    value: Any


def is_call(text: str) -> bool:
    """Whether a value ending in `.$` is meant as a call rather than a path."""
    return not text.startswith("$")


@lru_cache(maxsize=4096)
def call(text: str) -> Call:
    """Read a call. Raises ValueError with a sentence for what is none."""
    reader = _Reader(text)
    found = reader.call(1)
    reader.blank()
    if reader.at != len(text):
        raise ValueError(f"'{text}' goes on behind the closing parenthesis")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def call(self, depth: int) -> Call:
        self.blank()
        begin = self.at
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise ValueError(f"'{self.text}' is neither a path nor a call of an intrinsic function")
        if name[0] not in FUNCTIONS:
            raise ValueError(f"there is no intrinsic function {name[0]}")
        if depth > _DEEPEST:
            raise ValueError(f"'{self.text}' nests more than {_DEEPEST} calls")
        self.at = name.end()
        self.expect("(")
        arguments: list[Call | Path | Literal] = []
        self.blank()
        while not self.take(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.argument(depth))
            self.blank()
        least, most = FUNCTIONS[name[0]]
        if not least <= len(arguments) <= most:
            raise ValueError(f"{name[0]} does not take {len(arguments)} arguments")
        return Call(name[0], tuple(arguments), self.text[begin : self.at])

    def argument(self, depth: int) -> Call | Path | Literal:
        self.blank()
        if self.text.startswith("$", self.at):
            return path(self.path_text())
        if self.text.startswith("'", self.at):
            return Literal(self.string())
        if _NAME.match(self.text, self.at):
            return self.call(depth + 1)
        word = _WORD.match(self.text, self.at)
        try:
            value = json.loads(word[0]) if word else None
        except ValueError:
            value = None
        if word is None or (value is None and word[0] != "null"):
            raise ValueError(f"'{self.text}' has an argument that is no path, string, number or call")
        self.at = word.end()
        return Literal(value)

    def path_text(self) -> str:
        """Up to the comma or parenthesis that ends the argument: neither counts within brackets or quotes."""
        begin, depth, quote = self.at, 0, ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif char in "[(":
                depth += 1
            elif char in "])" and depth:
                depth -= 1
            elif char in ",)" and not depth:
                break
            self.at += 1
        return self.text[begin : self.at].strip()

    def string(self) -> str:
        self.at += 1
        chars: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "'":
                return "".join(chars)
            if char == "\\":
                chars.append(self.escaped())
            else:
                chars.append(char)
        raise ValueError(f"'{self.text}' has a string that does not end")

    def escaped(self) -> str:
        if self.at >= len(self.text):
            raise ValueError(f"'{self.text}' ends with a backslash")
        char = self.text[self.at]
        self.at += 1
        return char if char in "'\\" else "\\" + char

    def blank(self) -> None:
        self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]

    def take(self, char: str) -> bool:
        if self.text.startswith(char, self.at):
            self.at += 1
            return True
        return False

    def expect(self, char: str) -> None:
        self.blank()
        if not self.take(char):
            raise ValueError(f"'{self.text}' has no '{char}' where one is needed")
