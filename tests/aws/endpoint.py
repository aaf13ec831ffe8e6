"""An endpoint of AWS that answers every call as a test tells it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


class Endpoint:
    """`answer` makes status and body of what was asked; `asked` holds it all."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.connections: list[socket.socket] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: error("ThrottlingException")
        endpoint = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                endpoint.connections.append(self.connection)

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(asked)
                status, body = endpoint.answer(asked)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.daemon_threads = True
        self.server.block_on_close = False  # connections are kept open
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def hang_up(self) -> None:
        """Close every connection, as happens while a function is asleep."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def environment(self) -> dict[str, str]:
        """What sends the SDK here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }


def error(code: str, status: int = 400, **more: Any) -> Answer:
    """An error as DynamoDB tells it."""
    return status, {"__type": f"com.amazonaws#{code}", "message": "a-secret", **more}


@contextmanager
def answering() -> Iterator[Endpoint]:
    """An endpoint that is up."""
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        thread.join()
        endpoint.server.server_close()
