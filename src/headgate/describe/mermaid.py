"""A workflow as a state diagram in mermaid, with the states of an execution marked where one is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headgate.declare.asl import inner_machines

_MARKS = {
    "succeeded": "fill:#d6f5d6,stroke:#2e7d32",
    "failed": "fill:#fbd5d5,stroke:#c62828",
    "running": "fill:#d9e8fb,stroke:#1565c0",
}


def mermaid(document: Mapping[str, Any], marks: Mapping[str, str] | None = None) -> str:
    """The diagram. `marks` says of states by name whether they `succeeded`, `failed` or are `running`."""
    aliases = {name: f"s{number}" for number, name in enumerate(_names(document), 1)}
    lines = ["stateDiagram-v2", *_lines(document, aliases, "    ")]
    for mark in sorted({*(marks or {}).values()} & _MARKS.keys()):
        named = ",".join(aliases[name] for name, word in (marks or {}).items() if word == mark and name in aliases)
        if named:
            lines += [f"    classDef {mark} {_MARKS[mark]}", f"    class {named} {mark}"]
    return "\n".join(lines) + "\n"


def _names(machine: Mapping[str, Any]) -> Iterator[str]:
    for name, state in machine["States"].items():
        yield name
        for inner in inner_machines(state):
            yield from _names(inner)


def _lines(machine: Mapping[str, Any], aliases: Mapping[str, str], indent: str) -> Iterator[str]:
    for name, state in machine["States"].items():
        yield f'{indent}state "{_text(name)}" as {aliases[name]}'
        for number, inner in enumerate(inner_machines(state)):
            yield f"{indent}{'--' if number else f'state {aliases[name]} {{'}"
            yield from _lines(inner, aliases, indent + "    ")
        if inner_machines(state):
            yield f"{indent}}}"
    yield f"{indent}[*] --> {aliases[machine['StartAt']]}"
    for name, state in machine["States"].items():
        for target, label in _ways(state):
            to = "[*]" if target is None else aliases[target]
            yield f"{indent}{aliases[name]} --> {to}{f' : {_text(label)}' if label else ''}"


def _ways(state: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Where a state leads, None for the end, and what is said of the way."""
    for rule in state.get("Choices", ()):
        yield rule["Next"], rule.get("Comment") or asked(rule)
    if "Default" in state:
        yield state["Default"], "else"
    if "Next" in state:
        yield state["Next"], ""
    if state.get("End") or state["Type"] in ("Succeed", "Fail"):
        yield None, state.get("Error", "") if state["Type"] == "Fail" else ""
    for catcher in state.get("Catch", ()):
        yield catcher["Next"], "on " + ", ".join(catcher["ErrorEquals"])


_SIGNS = {
    "LessThanEquals": "<=",
    "GreaterThanEquals": ">=",
    "LessThan": "<",
    "GreaterThan": ">",
    "Equals": "=",
    "Matches": "like",
}


def asked(rule: Mapping[str, Any]) -> str:
    """What a choice asks, in a few words."""
    for name, word in (("And", " and "), ("Or", " or ")):
        if name in rule:
            return word.join(asked(one) for one in rule[name])
    if "Not" in rule:
        return f"not {asked(rule['Not'])}"
    if "Condition" in rule:
        return str(rule["Condition"]).removeprefix("{%").removesuffix("%}").strip()
    operator, value = next(
        (key, one) for key, one in rule.items() if key not in ("Variable", "Next", "Comment", "Assign")
    )
    if operator.startswith("Is"):
        return f"{rule['Variable']} is {'' if value else 'not '}{operator[2:].lower()}"
    sign = next(sign for name, sign in _SIGNS.items() if name in operator)
    return f"{rule['Variable']} {sign} {value}"


def _text(text: str) -> str:
    """Text that mermaid's grammar takes as it is: what would end it is written as an entity."""
    plain = " ".join(text.split())
    return "".join(f"#{ord(char)};" if char in '"#;:<>{}%`\\' or not char.isprintable() else char for char in plain)
