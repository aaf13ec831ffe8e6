"""A request as the client sent it, for patches that need what the emulator has thrown away by then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

_headers: ContextVar[list[tuple[str, str]]] = ContextVar("headers as sent")
_kept: list[Callable[[str], bool]] = []


def remembering(app: Asgi) -> Asgi:
    """The app, with the headers of each request remembered while it is answered."""

    async def remembered(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            _headers.set([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
            if any(is_kept(scope["path"]) for is_kept in _kept):
                scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await app(scope, receive, send)

    return remembered


def keep_paths_of(is_kept: Callable[[str], bool]) -> None:
    """From here on, those paths are not decoded."""
    _kept.append(is_kept)


def headers_as_sent() -> Iterable[tuple[str, str]]:
    """Names in the case they had, in their order, one pair for each line."""
    return _headers.get()
