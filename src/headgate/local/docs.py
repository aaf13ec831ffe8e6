"""The page on which people read the interface and try it. Everything it loads is part of the package."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

CSP = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy to send with the page."""

_FOLDER = Path(__file__).parent / "assets"
_SCRIPT = "text/javascript; charset=utf-8"
_ASSETS = {
    "docs.js": _SCRIPT,
    "swagger-ui/swagger-ui-bundle.js": _SCRIPT,
    # The bundle's first line names it.
    "swagger-ui/swagger-ui-bundle.js.LICENSE.txt": "text/plain; charset=utf-8",
    "swagger-ui/swagger-ui.css": "text/css; charset=utf-8",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/swagger-ui/swagger-ui.css">
<script src="assets/swagger-ui/swagger-ui-bundle.js" defer></script>
<script src="assets/docs.js" defer></script>
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> does not.</noscript>
</body>
</html>
"""


def docs_page(title: str) -> str:
    """The page, for `/-/docs`. It asks for `openapi.json` and `assets/...` beside itself, nothing else."""
    return _PAGE.format(title=escape(title))


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """The bytes and content type of what lies under `/-/assets/<name>`; None where there is nothing.

    Only known names are looked at, so no name leads out of the folder.
    """
    content_type = _ASSETS.get(name)
    if content_type is None:
        return None
    return (_FOLDER / name).read_bytes(), content_type
