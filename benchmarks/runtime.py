"""A function in a process of its own, under AWS's own runtime client, and a DynamoDB that says yes to everything.

Python of this environment, and of its packages only those that Lambda's runtime brings.
"""

from __future__ import annotations

import compileall
import json
import os
import queue
import socketserver
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from importlib import metadata
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from headgate.cdk.packaging import Target, layer
from headgate.declare.app import App

BROUGHT = ("awslambdaric", "boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "simplejson",
           "six", "snapshot-restore-py", "urllib3")  # fmt: skip
_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
_SIGNER = "aws_sdk_signers"
_DEADLINE_S = 30
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A process that is ended breaks its connections off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> bytes:
        """All of it, in chunks or not."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def table(folder: Path) -> Iterator[dict[str, str]]:
    """A DynamoDB that is always there and always empty; what a client's environment needs to take it for real."""

    class Yes(_Handler):
        def do_POST(self) -> None:
            self.body()
            self.answer(200, {"Content-Type": "application/x-amz-json-1.0"}, b"{}")

    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    trust = folder / "trust.pem"  # as many authorities as a client loads otherwise, and ours
    trust.write_bytes((Path(_folder_of("botocore")) / "cacert.pem").read_bytes() + certificate.read_bytes())
    server = _Server(("127.0.0.1", 0), Yes)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{server.server_address[1]}", "AWS_CA_BUNDLE": str(trust)}
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Function:
    """A function that has been started, and not yet been called."""

    process: subprocess.Popen[bytes]
    init_ms: float
    _events: queue.Queue[tuple[str, bytes]]
    _answers: queue.Queue[tuple[str, bytes]]
    _count: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def call(self, event: object) -> tuple[float, Any]:
        """How many ms a call took, and its answer."""
        body = json.dumps(event).encode()
        began = time.perf_counter()
        self._events.put((f"request-{next(self._count)}", body))
        kind, answer = self._answers.get(timeout=_DEADLINE_S)
        taken_ms = (time.perf_counter() - began) * 1000
        assert kind == "response", answer
        return taken_ms, json.loads(answer)

    @property
    def memory_mb(self) -> float:
        """What it holds of the machine's memory now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE_MB

    @property
    def cpu_ms(self) -> float:
        """The processor time it has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS * 1000


@contextmanager
def started(code: Path, layer: Path, handler: str, env: Mapping[str, str], runtime: Path) -> Iterator[Function]:
    """A function in a new process, up to the point where it asks for its first event."""
    events: queue.Queue[tuple[str, bytes]] = queue.Queue()
    answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
    ready = threading.Event()

    class Api(_Handler):
        def do_GET(self) -> None:
            ready.set()
            request, body = events.get()
            deadline_ms = int((time.time() + _DEADLINE_S) * 1000)
            self.answer(
                200,
                {
                    "Lambda-Runtime-Aws-Request-Id": request,
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:111122223333:function:bench",
                    "Content-Type": "application/json",
                },
                body,
            )

        def do_POST(self) -> None:
            answers.put((self.path.rpartition("/")[2], self.body()))
            self.answer(202, {})
            ready.set()

    server = _Server(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    python = Path(str(sysconfig.get_config_var("BINDIR"))) / f"python{_MINOR}"
    path = (code, layer / "python", runtime)
    own = {
        "PATH": os.environ["PATH"],
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": handler,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [python, "-S", "-s", "-m", "awslambdaric", handler],
        cwd=code, env={**own, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert ready.wait(_DEADLINE_S), "the function does not ask for events"
        init_ms = (time.perf_counter() - began) * 1000
        assert answers.empty(), answers.get()
        yield Function(process, init_ms, events, answers)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def link_runtime(folder: Path) -> Path:
    """A folder with what Lambda's Python runtime brings."""
    folder.mkdir()
    for name in BROUGHT:
        found = metadata.distribution(name)
        for top in {
            file.parts[0] for file in found.files or () if ".." not in file.parts and file.parts[0] != "__pycache__"
        }:
            (folder / top).symlink_to(str(found.locate_file(top)))
    return folder


def add_signer(project: Path, unpacked: Path) -> None:
    """The signer that ships to functions of the default runtime, for a layer of an older one, which has none."""
    if (unpacked / "python" / _SIGNER).exists():
        return
    with zipfile.ZipFile(layer(project, Target(App("bench").runtime))) as archive:
        archive.extractall(unpacked, [name for name in archive.namelist() if name.startswith(f"python/{_SIGNER}/")])
    compileall.compile_dir(unpacked / "python" / _SIGNER, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def _folder_of(package: str) -> str:
    return str(metadata.distribution(package).locate_file(package))
