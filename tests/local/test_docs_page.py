"""The docs page, in a real browser and without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import BaseModel

from headgate import ApiKey, App, Jwt, Secret
from headgate.describe.openapi import openapi
from headgate.local.docs import CSP, asset, docs_page
from tests.serving import PATIENCE_S

ROOT = Path(__file__).parents[2]
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # it may be small
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
]


class Order(BaseModel):
    """What a customer wants."""

    record_id: str
    amount: float


def shop() -> App:
    app = App("shop", title="The <shop> & more")
    auth = Jwt(secret=Secret("ORDERS"), issuer="shop", audience="orders")
    app.channel("/orders", Order, key="record_id", auth=auth, indexes=["amount"])
    app.channel("/notes", auth=ApiKey(), description="Anything at all.")
    app.check()
    return app


@dataclass
class Site:
    """What the browser is shown, and what it asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(app: App) -> Iterator[Site]:
    """A server on loopback. It is the browser's proxy, too: what Chromium asks of its makers ends here."""
    site = Site("")
    pages = {
        "/-/docs": (docs_page(app.title).encode(), "text/html; charset=utf-8"),
        "/-/openapi.json": (json.dumps(openapi(app)).encode(), "application/json"),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.path.removeprefix(site.url)
            if asked.startswith("/"):
                site.asked.append(asked)
            found = pages.get(asked) or asset(asked.removeprefix("/-/assets/"))
            self.send_response(200 if found else 404)
            content, content_type = found or (b"", "text/plain")
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", CSP)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def do_CONNECT(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def browse(site: Site, folder: Path) -> tuple[str, str]:
    """The page's DOM once its scripts have run, and what the browser logged."""
    browser = shutil.which("chromium")
    if browser is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has to have chromium")
        pytest.skip("chromium is not installed")
    own = [f"--user-data-dir={folder}", f"--proxy-server={site.url}", "--proxy-bypass-list=<-loopback>"]
    ran = subprocess.run(
        [browser, *QUIET, *own, "--dump-dom", f"{site.url}/-/docs"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return ran.stdout, ran.stderr


def test_a_browser_shows_every_operation_and_asks_nobody_but_us(tmp_path: Path) -> None:
    with serving(shop()) as site:
        dom, log = browse(site, tmp_path)

    for operation in ("post_orders", "get_orders", "find_orders", "post_notes", "get_notes"):
        assert f'-{operation}"' in dom
    assert "The &lt;shop&gt; &amp; more" in dom
    assert "Uncaught" not in log
    # The policy lets the page ask nobody else; the browser logs every attempt.
    assert "Content Security Policy" not in log
    assert sorted(site.asked) == [
        "/-/assets/docs.js",
        "/-/assets/swagger-ui/swagger-ui-bundle.js",
        "/-/assets/swagger-ui/swagger-ui.css",
        "/-/docs",
        "/-/openapi.json",
    ]


def test_the_title_is_text_and_not_markup() -> None:
    page = docs_page('</title><script>alert("x")</script>')

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_page_has_no_script_of_its_own_and_names_no_host() -> None:
    page = docs_page("shop")

    assert page.count("<script ") == page.count("></script>") == 2
    assert "//" not in page


@pytest.mark.parametrize(
    "name", ["", ".", "../docs.py", "swagger-ui/../docs.js", "/etc/hosts", "swagger-ui", "swagger-ui/VERSION"]
)
def test_nothing_but_known_assets_is_handed_out(name: str) -> None:
    assert asset(name) is None


def test_assets_are_told_apart_by_their_content_type() -> None:
    script, style = asset("docs.js"), asset("swagger-ui/swagger-ui.css")

    assert script is not None
    assert script[1] == "text/javascript; charset=utf-8"
    assert b"validatorUrl: null" in script[0]
    assert style is not None
    assert style[1] == "text/css; charset=utf-8"


def test_the_vendored_files_are_those_that_were_published() -> None:
    command = [sys.executable, str(ROOT / "tools" / "vendor_assets.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)

    assert check.returncode == 0, check.stderr
