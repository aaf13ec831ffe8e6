"""`make run`: the company_messages example, served by the real command, with a few posts to show what it does.

It takes port 8000, or the next free one, and keeps serving until Ctrl-C. The messages stay in
examples/company_messages/.headgate; every run makes its own ids, so a second one is as good as the first.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import IO, Any, NamedTuple

EXAMPLE = Path("examples/company_messages")
HOST = "127.0.0.1"
FIRST_PORT = 8000
_PORTS = 100
_OURS = "tour-"
_QUIET_S = 15.0  # behind the tour, in which the log tells of the alarms that its messages set off
_QUIET = re.compile(r" (INFO|WARNING) headgate\.(handlers|gate|alarms|notices) ")
_SETTLED_S = 60.0
_LOOK_EVERY_S = 0.05


class Post(NamedTuple):
    """One post of the tour, and what it is meant to show. One that is turned away has the id of its answer, and what is
    taken has its own."""

    what: str
    message: dict[str, Any]
    turned_away: bool = False

    @property
    def key(self) -> str:
        """The id that it brings."""
        return str(self.message["metadata"]["message_id"])


def posts(now: str) -> list[Post]:
    """Good, twin, conflicting, bad, and one that fails behind the gate."""
    first, second, third = (uuid.uuid4().hex[:8] for _ in range(3))
    return [
        Post("a new message", message(first, 99.5, now)),
        Post("the same once more", message(first, 99.5, now)),
        Post("its id, another amount", message(first, 100, now), turned_away=True),
        Post("an amount below zero", message(second, -1, now), turned_away=True),
        Post("more than its handler takes", message(third, 2_000_000, now)),
    ]


def message(id_: str, amount: float, now: str) -> dict[str, Any]:
    """One message of a company."""
    return {
        "metadata": {"message_time": now, "company_id": "C-7", "message_id": id_},
        "data": {"order_id": f"O-{id_}", "order_time": now, "order_amount": amount},
    }


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
    loud = threading.Event()
    relay = threading.Thread(target=pass_on, args=(server.stderr, loud))
    relay.start()
    try:
        if is_ready(server.stdout):
            show(port)
            later = threading.Timer(_QUIET_S, loud.set)
            later.daemon = True
            later.start()
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


def pass_on(log: IO[str], loud: threading.Event) -> None:
    """Show what the server says, but for what it says of the tour."""
    for line in log:
        if f"request_id={_OURS}" in line:
            continue
        if _QUIET.search(line) is None or loud.is_set():
            sys.stderr.write(line)
            sys.stderr.flush()


def is_ready(greeting: IO[str]) -> bool:
    """Wait for the last line of the server's greeting. False where it ended instead; it has said why."""
    return any(line.startswith("State:") for line in greeting)


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


def ask(port: int, method: str, path: str, body: bytes | None = None) -> Answer:
    """One request."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_SETTLED_S)
    try:
        headers = {"Content-Type": "application/json", "X-Request-Id": f"{_OURS}0"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def settled(port: int, key: str) -> dict[str, Any]:
    """A message, once nothing more is done with it."""
    until_s = time.monotonic() + _SETTLED_S
    while time.monotonic() < until_s:
        answer = ask(port, "GET", f"/messages/{key}")
        if answer.status == 200:
            found: dict[str, Any] = json.loads(answer.body)
            if found["status"] in ("processed", "rejected", "failed"):
                return found
        time.sleep(_LOOK_EVERY_S)
    return {"status": "not looked at yet", "error": None}


def show(port: int) -> None:
    """The tour, in nine lines: the first `make run` has three of its own."""
    url = f"http://{HOST}:{port}"
    tour = posts(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    first = tour[0]
    lines = [f"headgate serves {EXAMPLE}. Five posts to {url}/messages are let in unread, 202; what became of them:"]
    for post in tour:
        answer = ask(port, "POST", "/messages", json.dumps(post.message).encode())
        told = json.loads(answer.body)["id"]
        if post is not first and post.message == first.message:
            became = f"{settled(port, first.key)['status']} already: it is stored once"
        else:
            found = settled(port, told if post.turned_away else post.key)
            became = f"{found['status']}: {found['error']}" if found["error"] else found["status"]
        lines.append(f"  {post.what.ljust(28)}  {became}")
    lines += [
        f"The dead letters: .venv/bin/headgate dead list --app {EXAMPLE}",
        f"The first one: {url}/messages/{first.key}  the docs: {url}/-/docs  metrics: {url}/-/metrics",
        f"It keeps serving, and takes up every change you save in {EXAMPLE}/app.py. Ctrl-C ends it.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
