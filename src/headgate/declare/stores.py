"""How a channel names, finds and keeps its messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

ID = "id"
"""What the key of a message is called that brings none."""

OWN_NAMES = frozenset(
    {
        "scope", "body", "body_at", "digest", "received_at", "principal", "request_id", "traceparent", "status",
        "error", "expires_at", "expires_ms", "due_at", "shard",
    }
)  # fmt: skip
"""What else a table on AWS holds of a message, beside its key and its declared fields; `aws/layout.py` tells what."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_header_name(name: object) -> bool:
    """Whether a header can be called so: a token, as RFC 9110 has it."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Header:
    """The key is the value of a request header, which then must be sent; it counts per principal.

    `Header("webhook-id")` suits Standard Webhooks, `Header("x-github-delivery")` GitHub.
    """

    name: str = "Idempotency-Key"


@dataclass(frozen=True)
class Field:
    """A place in the body, `record_id` or `metadata.company_id`; its name in queries is its last part."""

    dotted: str

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The names from the outside in."""
        return tuple(self.dotted.split("."))

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1]

    @property
    def pointer(self) -> str:
        """The JSON pointer of the place."""
        return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in self.path)
