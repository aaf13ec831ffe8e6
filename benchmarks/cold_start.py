"""Cold start and memory of the ingest function, beside a function as it is usually written.

All are packed in the same way (bytecode included) and run under AWS's own runtime client, in turns, each from a new
process; what they call is a DynamoDB on loopback, over TLS, that says yes to everything. Ratios count, not times:
this machine is not Lambda's. Writes its section of benchmarks/RESULTS.md.

    .venv/bin/python benchmarks/cold_start.py [--quick]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runtime import add_signer, link_runtime, started, table

from headgate.cdk.packaging import Target, code, layer
from headgate.declare.app import App

HERE = Path(__file__).parent
_TITLE = "## Cold start"
_GOAL = 0.6
_PEERS = ("aws-lambda-powertools", "pydantic")


@dataclass
class Subject:
    """A function to measure, and what was seen of it."""

    title: str
    folder: Path
    handler: str
    env: Mapping[str, str]
    ready_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    start_cpu_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    warm_cpu_ms: list[float] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median of one of the lists."""
        return statistics.median(getattr(self, name))

    @property
    def start_ms(self) -> float:
        """From nothing to the first answer."""
        return statistics.median(ready + first for ready, first in zip(self.ready_ms, self.first_ms, strict=True))


def main() -> None:
    """Measure, print, and write the page."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cold-start-")))
        target = Target(f"python{'.'.join(platform.python_version_tuple()[:2])}", _architecture())
        subjects = _subjects(folder, target)
        runtime = link_runtime(folder / "runtime")
        endpoint = stack.enter_context(table(folder))
        for round_ in range(options.rounds + 1):
            for subject in subjects:
                _measure(subject, endpoint, runtime, options.calls, kept=round_ > 0)
    page = _page(subjects, options.rounds, options.calls)
    print(page)
    if not options.quick:
        results = HERE / "RESULTS.md"
        results.write_text(f"{results.read_text().partition(_TITLE)[0].rstrip()}\n\n{page}")


def _subjects(folder: Path, target: Target) -> list[Subject]:
    peers = HERE / "peers"
    ours = {
        "HEADGATE_APP": "app:app", "HEADGATE_STAGE": "prod", "HEADGATE_CHANNEL": "single", "HEADGATE_TABLE": "orders",
        "HEADGATE_BODIES": "bodies",
    }  # fmt: skip
    return [
        Subject(
            "headgate's ingest",
            _packed(HERE, ("app.py", "order.py"), folder / "headgate", target),
            "headgate.aws.lambdas.ingest.handler",
            ours,
        ),
        Subject(
            "boto3 + Powertools idempotency + pydantic",
            _packed(peers / "usual", ("app.py",), folder / "usual", target),
            "app.handler",
            {"ORDERS": "orders", "IDEMPOTENCY": "idempotency"},
        ),
        Subject(
            "boto3's put_item alone",
            _packed(peers / "bare", ("app.py",), folder / "bare", target),
            "app.handler",
            {"ORDERS": "orders"},
        ),
    ]


def _measure(subject: Subject, endpoint: Mapping[str, str], runtime: Path, calls: int, *, kept: bool) -> None:
    """One process; the first round only warms the disk's cache and is not kept."""
    place = subject.folder / "code", subject.folder / "layer"
    with started(*place, subject.handler, {**endpoint, **subject.env}, runtime) as function:
        first_ms, answer = function.call(_event())
        assert answer["statusCode"] == 201, answer
        start_cpu_ms, memory_mb = function.cpu_ms, function.memory_mb
        for _ in range(calls):
            assert function.call(_event())[1]["statusCode"] == 201
        if kept:
            subject.ready_ms.append(function.init_ms)
            subject.first_ms.append(first_ms)
            subject.start_cpu_ms.append(start_cpu_ms)
            subject.memory_mb.append(memory_mb)
            subject.warm_cpu_ms.append((function.cpu_ms - start_cpu_ms) / calls)


def _packed(source: Path, names: tuple[str, ...], folder: Path, target: Target) -> Path:
    """The folders `code` and `layer`, as Lambda unpacks what is deployed."""
    project = folder / "project"
    project.mkdir(parents=True)
    for name in names:
        shutil.copy(source / name, project / name)
    (project / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in _PEERS))
    for place, zip_ in (("code", code(project, target)), ("layer", layer(project, target))):
        with zipfile.ZipFile(zip_) as archive:
            archive.extractall(folder / place)
    add_signer(project, folder / "layer")
    return folder


def _event() -> dict[str, Any]:
    """What API Gateway hands over; each has a key of its own."""
    order = {"record_id": uuid.uuid4().hex, "parameter_1": "oak " * 20, "parameter_2": 2.1}
    headers = {
        "Accept": "*/*", "Content-Type": "application/json", "Host": "api.example", "User-Agent": "bench",
        "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678", "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https",
    }  # fmt: skip
    return {
        "resource": "/single", "path": "/single", "httpMethod": "POST", "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123", "resourcePath": "/single", "httpMethod": "POST", "path": "/prod/single",
            "accountId": "111122223333", "protocol": "HTTP/1.1", "stage": "prod", "domainPrefix": "api",
            "requestTimeEpoch": 1_760_000_000_000, "requestId": str(uuid.uuid4()), "apiId": "api",
            "domainName": "api.example", "identity": {"sourceIp": "192.0.2.1", "userAgent": "bench"},
        },
        "body": base64.b64encode(json.dumps(order).encode()).decode(), "isBase64Encoded": True,
    }  # fmt: skip


def _page(subjects: list[Subject], rounds: int, calls: int) -> str:
    own, usual, bare = subjects
    lines = [
        _TITLE,
        "",
        f"Made by `benchmarks/cold_start.py` on {datetime.now(UTC):%Y-%m-%d}, which says how; medians of {rounds} "
        f"processes each, and of {calls} warm calls in each of them.",
        "",
        f"Python {platform.python_version()}, boto3 {version('boto3')}, "
        + ", ".join(f"{name} {version(name)}" for name in _PEERS)
        + f". The machine is not Lambda's, and had a load of {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores: "
        "only the ratios mean something.",
        *_lent(),
        "",
        "| goal | asked | seen | |",
        "|---|---:|---:|---|",
        *(
            f"| {what}, against {against.title} | {_GOAL} × | {seen:.2f} × | {'met' if seen <= _GOAL else 'not met'} |"
            for what, against, seen in (
                ("from nothing to the first answer", usual, own.start_ms / usual.start_ms),
                ("memory after the first answer", usual, own.median("memory_mb") / usual.median("memory_mb")),
            )
        ),
        "",
        "| function | ready ms | first answer after ms more | both ms | processor ms of both | memory MB "
        "| processor ms of a warm message |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in subjects:
        lines.append(
            f"| {one.title} | {one.median('ready_ms'):.0f} | {one.median('first_ms'):.0f} | {one.start_ms:.0f} "
            f"| {one.median('start_cpu_ms'):.0f} | {one.median('memory_mb'):.0f} | {one.median('warm_cpu_ms'):.2f} |"
        )
    for other in (usual, bare):
        ratios = [own.median(name) / other.median(name) for name in ("ready_ms", "first_ms")]
        ratios.append(own.start_ms / other.start_ms)
        ratios += [own.median(name) / other.median(name) for name in ("start_cpu_ms", "memory_mb", "warm_cpu_ms")]
        lines.append(f"| headgate over {other.title} | " + " | ".join(f"{ratio:.2f} ×" for ratio in ratios) + " |")
    return "\n".join(lines) + "\n"


def _lent() -> list[str]:
    if sys.version_info >= (3, 12):
        return []
    return ["", f"The signer is lent to this Python: it ships to the default runtime ({App('bench').runtime})."]


def _architecture() -> Any:
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few rounds, printed and not written")
    options = parser.parse_args()
    options.rounds, options.calls = (3, 50) if options.quick else (15, 300)
    return options


if __name__ == "__main__":
    main()
