"""`make run`: the message example, served by the real command, with a few posts to show what it does.

It takes port 8000, or the next free one, and keeps serving until Ctrl-C. The messages stay in
examples/message/.headgate; every run makes its own ids, so a second one is as good as the first.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import IO, NamedTuple

EXAMPLE = Path("examples/message")
HOST = "127.0.0.1"
FIRST_PORT = 8000
_PORTS = 100
_OURS = "tour-"


class Post(NamedTuple):
    """One post of the tour, and what it is meant to show."""

    what: str
    message: dict[str, str]


def posts(now: str) -> list[Post]:
    """Good, twin, conflicting, bad."""
    good = {
        "messageUUID": str(uuid.uuid4()),
        "messageText": "The gate is open.",
        "messageDatetime": now,
    }
    return [
        Post("a new message", good),
        Post("the same once more", good),
        Post("the same UUID, another text", {**good, "messageText": "The gate is shut."}),
        Post("a new UUID, a text too short", {**good, "messageUUID": str(uuid.uuid4()), "messageText": "Hi."}),
    ]


def main() -> int:
    """Serve, post, keep serving; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    port = free_port()
    command = Path(sys.executable).with_name("headgate")
    server = subprocess.Popen(  # noqa: S603 - our own command
        [command, "dev", EXAMPLE, "--port", str(port)],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stderr is not None
    relay = threading.Thread(target=pass_on, args=(server.stderr,))
    relay.start()
    try:
        if is_ready(server.stdout):
            show(port)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        server.terminate()
        server.wait()
        relay.join()


def free_port() -> int:
    """The first port from 8000 on that nobody listens on."""
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port
    sys.exit(f"No port from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} is free.")


def pass_on(log: IO[str]) -> None:
    """Show what the server says, but for its log of the tour's own posts."""
    for line in log:
        if f"request_id={_OURS}" not in line:
            sys.stderr.write(line)
            sys.stderr.flush()


def is_ready(greeting: IO[str]) -> bool:
    """Wait for the last line of the server's greeting. False where it ended instead; it has said why."""
    return any(line.startswith("State:") for line in greeting)


class Answer(NamedTuple):
    """What came back."""

    status: int
    replayed: bool
    body: bytes


def ask(port: int, method: str, path: str, body: bytes | None = None, request_id: str = "") -> Answer:
    """One request."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id or f"{_OURS}0"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.getheader("Idempotency-Replayed") == "true", response.read())
    finally:
        connection.close()


def show(port: int) -> None:
    """The tour, in nine lines: the first `make run` has three of its own."""
    url = f"http://{HOST}:{port}"
    tour = posts(time.strftime("%Y-%m-%d %H:%M:%S"))
    lines = [f"headgate serves {EXAMPLE}. Four posts to {url}/message, and what came back:"]
    for number, post in enumerate(tour, 1):
        answer = ask(port, "POST", "/message", json.dumps(post.message).encode(), f"{_OURS}{number}")
        told = json.loads(answer.body)["message"]
        replayed = " (stored once: this is the first answer again)" if answer.replayed else ""
        lines.append(f"  {post.what.ljust(28)}  {answer.status} {told}{replayed}")
    lines += [
        f"The first one, read back:  {url}/message/{tour[0].message['messageUUID']}",
        f"All that are stored:       .venv/bin/headgate messages list --app {EXAMPLE}",
        f"The docs, and metrics:     {url}/-/docs  {url}/-/metrics",
        f"It keeps serving, and takes up every change you save in {EXAMPLE}/app.py. Ctrl-C ends it.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
