"""The attacked server: how it is started and opened, how bytes are thrown at it, and what every answer must be."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import jwt

from tests.serving import PATIENCE_S, Answer, Served, headgate, log_of, serving

APP = Path(__file__).with_name("app.py")
JWT_SECRET = "the secret of the hostile tests, long enough"
HOOK_SECRET = "another secret of the hostile tests, long enough"
SECRETS = {"HOSTILE_JWT_SECRET": JWT_SECRET, "HOSTILE_HOOK_SECRET": HOOK_SECRET}
JSON = {"Content-Type": "application/json"}

_EXCEPTION_TEXT = re.compile(
    r"Traceback|Error:|\w(Error|Exception)\b|File \"|line \d+, in |[Pp]ydantic|jiter|msgspec|[Ss][Qq][Ll]ite"
)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_numbers = count(1)


@contextmanager
def attacked(folder: Path, app: Path = APP) -> Iterator[Served]:
    """The app, served. When the test is over nothing may have gone wrong inside."""
    state = folder / "state"
    with serving(app, state, env=SECRETS) as served:
        yield served
        assert served.process.poll() is None, "the server has ended"
    assert_clean(log_of(state))


def token(subject: str = "someone", **claims: object) -> str:
    """A token that opens /jwt; a claim of None is left out."""
    now_s = int(time.time())
    told = {"sub": subject, "iss": "hostile", "aud": "orders", "exp": now_s + 600, **claims}
    return jwt.encode({name: value for name, value in told.items() if value is not None}, JWT_SECRET, "HS256")


def signature(body: bytes) -> str:
    """What opens /signed for this body."""
    return "sha256=" + hmac.new(HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()


def new_api_key(served: Served, channel: str = "api-key") -> str:
    """A key that opens /api-key."""
    line = headgate("keys", "create", channel, "--app", APP, "--state", served.state)
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout.strip()


# ------------------------------------------------------------------------------------------------------------- bytes


def request(method: str, target: str, body: bytes = b"", *headers: bytes, length: bool = True) -> bytes:
    """A request as bytes; with `length` it has a true Content-Length."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: here", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((*lines, b"", body))


def throw(served: Served, data: bytes | Iterable[bytes], *, half_close: bool = False) -> Answer | None:
    """Send bytes as they are and read one reply; None where the server hangs up without one.

    Raises TimeoutError where it neither answers nor hangs up.
    """
    parts = (data,) if isinstance(data, bytes) else data
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE_S) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                sock.sendall(part)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        return reply(sock)


def reply(sock: socket.socket, method: str = "POST") -> Answer | None:
    """One reply from a socket, after any interim ones; None where there is none."""
    response = http.client.HTTPResponse(sock, method=method)
    try:
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None
    finally:
        response.close()


# ------------------------------------------------------------------------------------------------------- expectation


def assert_polite(answer: Answer | None, *statuses: int) -> Answer:
    """An answer of the sender's fault, or of success: JSON, and without the text of an exception. It may not be the one
    that only time gave, 408, unless that is named."""
    assert answer is not None, "hung up without a word"
    expected = answer.status in statuses if statuses else answer.status < 500 and answer.status != 408
    assert expected, (answer.status, answer.body[:500])
    told = answer.json()
    is_problem = answer.status >= 400 and "items" not in told  # a batch answers item by item
    media = "application/problem+json" if is_problem else "application/json"
    assert answer.headers.get("content-type") == media, (answer.status, answer.headers)
    if answer.status >= 400:
        assert not _EXCEPTION_TEXT.search(answer.body.decode()), answer.body[:500]
    if is_problem:
        assert told["status"] == answer.status
        assert told["request_id"]
        assert told["message"].endswith(".")
    return answer


def assert_clean(text: str) -> None:
    """A log, or the output of a command, that shows no trace of a crash and cannot command a terminal."""
    assert "Traceback" not in text
    assert not (found := _CONTROL.search(text)), f"{found!r} is in it as it is"


def still_accepts(served: Served) -> None:
    """The next good message, on a connection of its own, is stored at once and can be read."""
    key = f"good-{next(_numbers)}"
    assert served.post("/orders", {"record_id": key, "amount": 1}).status == 201
    assert served.ask("GET", f"/orders/{key}").json()["body"] == {"record_id": key, "amount": 1}


def is_key(text: str) -> bool:
    """Whether a text may be a key: 1 to 255 bytes of UTF-8 without control characters."""
    return 1 <= len(text.encode()) <= 255 and not re.search(r"[\x00-\x1f\x7f-\x9f]", text)


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()
