"""How a message goes on after the gate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Direct:
    """Stored before the reply; nothing follows."""


Delivery = Direct
