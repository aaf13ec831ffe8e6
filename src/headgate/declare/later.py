"""Words that this version does not carry out: refused when the app loads, never half-emulated."""

from __future__ import annotations

from headgate.declare.source import caller
from headgate.errors import DeclarationError, DeclarationFault

_NAMES = {
    "alarm": ("alarms of your own", "they follow from what is declared, `headgate alarms` lists them"),
}


def refuse_name(name: str) -> None:
    """Raise DeclarationError where `name` is a word of a later version; return otherwise."""
    if name in _NAMES:
        what, instead = _NAMES[name]
        raise DeclarationError(
            DeclarationFault(caller(), f"`{name}`: this version of headgate has no {what} yet; {instead}.")
        )
