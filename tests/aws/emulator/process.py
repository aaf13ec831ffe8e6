"""An emulator that is up: started, asked, and what a client needs to reach it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.aws.emulator import node, signer
from tests.aws.emulator.hand import Hand
from tests.aws.emulator.ledger import asked_by, at_work, hurry, refused_to
from tests.aws.emulator.minutes import Minutes
from tests.aws.emulator.wire import Fault, Kind
from tests.cases import ROOT
from tests.once import once
from tests.serving import free_port

ACCOUNT, REGION = "111122223333", "eu-west-1"
_START_S = 180.0
_PATIENCE_S = 300
"""For an answer, where an emulator may stand still, and a function that is called may have to start."""
_KEY = "test"
"""The root user's key, and its secret."""
PATIENT = Path(__file__).parent / "patient"
"""The folder that has to be on the path of a Python program so that it waits for an emulator that stands still."""
_CERTIFICATE = "ministack-tls/server.crt"
_LEDGER, _TIME, _MINUTES = "ledger", "time", "minutes"
_IS_UP = "(CTRL + C to quit)"
"""What it says last when it starts."""
_IN_ORDER = ('"_aws"', " INFO [", "START RequestId", "END RequestId", "REPORT RequestId")
_started: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Emulator:
    """Where an emulator is, and the folder in which it keeps everything."""

    pid: int
    port: int
    plain_port: int
    wire_port: int
    folder: str
    mode: str

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> str:
        return f"{self.folder}/tmp/{_CERTIFICATE}"

    @property
    def log(self) -> Path:
        return Path(self.folder, "log")

    @property
    def env(self) -> Mapping[str, str]:
        """What a program needs in its environment to speak with this emulator as the root user of the account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CA_BUNDLE": self.certificate,
            "REQUESTS_CA_BUNDLE": self.certificate,
            "NODE_EXTRA_CA_CERTS": self.certificate,
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
        }

    def client(self, service: str, region: str = REGION) -> Any:
        """A client of boto3, as the root user."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_KEY,
            verify=self.certificate,
            config=Config(connect_timeout=_PATIENCE_S, read_timeout=_PATIENCE_S),
        )

    def plain_url(self, api_url: str) -> str:
        """Where the API that AWS would serve at `api_url` is served: plain HTTP, so that any client gets there."""
        parts = urlsplit(api_url)
        stage, _, rest = parts.path.strip("/").partition("/")
        api = (parts.hostname or "").partition(".")[0]
        return f"http://127.0.0.1:{self.plain_port}/restapis/{api}/{stage}/_user_request_/{rest}".rstrip("/")

    def reset(self) -> None:
        """Forget everything. Not for an emulator that is shared."""
        self.ask("POST", "/_ministack/reset")

    @contextmanager
    def fault(self, function: str, kind: Kind, **where: Any) -> Iterator[None]:
        """Calls of a function go wrong so, for the length of a `with`; see wire.py."""
        asked = asdict(Fault(function, kind, **where))
        self._wire("POST", "faults", json.dumps(asked).encode())
        try:
            yield
        finally:
            self._wire("DELETE", f"faults/{asked['id']}")

    def calls(self, function: str) -> list[tuple[str, str]]:
        """(service, action) of every call a function has made, in their order."""
        return [(call["service"], call["action"]) for call in self._wire("GET", f"calls/{function}")]

    def actions(self, function: str) -> set[tuple[str, str]]:
        """(IAM action, resource) of everything that a function has asked for."""
        return asked_by(Path(self.folder, _LEDGER), function)

    def refused(self, role: str) -> set[tuple[str, str]]:
        """(IAM action, resource) of everything that a service with this role was refused."""
        return refused_to(Path(self.folder, _LEDGER), role)

    def at_work(self) -> set[str]:
        """The functions that have begun and are not done."""
        return at_work(Path(self.folder, _LEDGER))

    @property
    def hand(self) -> Hand:
        """Its time, where that is moved by hand."""
        return Hand(Path(self.folder, _TIME))

    def minutes(self, topic: str) -> Minutes:
        """The time of the alarms that tell a topic."""
        return Minutes(Path(self.folder, _MINUTES), topic)

    @contextmanager
    def hurried(self, function: str) -> Iterator[None]:
        """For the length of a `with`, what is started of a function waits for AWS no longer than in production."""
        ledger = Path(self.folder, _LEDGER)
        hurry(ledger, function, on=True)
        try:
            yield
        finally:
            hurry(ledger, function, on=False)

    def _wire(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self.ask(method, f"/_wire/{path}", body=body, port=self.wire_port))

    def ask(
        self, method: str, path: str, timeout_s: float = _PATIENCE_S, body: bytes | None = None, port: int | None = None
    ) -> bytes:
        """One of the emulator's own addresses."""
        request = urllib.request.Request(f"https://127.0.0.1:{port or self.port}{path}", body, method=method)
        trust = ssl.create_default_context(cafile=self.certificate)
        with urllib.request.urlopen(request, timeout=timeout_s, context=trust) as reply:
            answer: bytes = reply.read()
            return answer

    def told(self, since_bytes: int = 0, lines: int = 12) -> str:
        """The end of its log, or of that from a place on, in short: without what metrics are made of, and without what
        is in order."""
        with self.log.open("rb") as log:
            log.seek(since_bytes)
            told = log.read().decode(errors="replace").rpartition(_IS_UP)[2].splitlines()
        told = [line[:240] for line in told if line.strip() and not any(word in line for word in _IN_ORDER)]
        return "\n".join(told[-lines:])


def start(folder: Path, owner: int, mode: str = "strict", *, by_hand: bool = False) -> Emulator:
    """Start one that ends with the process `owner`, and wait until it answers. Workflows wait a fiftieth of what they
    say, or, where time is moved `by_hand`, until it was moved so far."""
    for needed in ("tmp", _LEDGER, _MINUTES):
        (folder / needed).mkdir(parents=True)
    if by_hand:
        Hand(folder / _TIME).set_up()
    port, plain_port, wire_port = (free_port() for _ in range(3))
    env = {
        "PATH": os.pathsep.join((str(node.binary_folder()), os.environ["PATH"])),
        "NODE_PATH": str(node.packages()),
        "NODE_EXTRA_CA_CERTS": str(folder / "tmp" / _CERTIFICATE),
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_HOST": "localhost",
        "AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}",
        "AUTH": "true",
        "USE_SSL": "1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "SFN_WAIT_SCALE": "0.02",
        "EMULATOR_TIME": str(folder / _TIME) if by_hand else "",
        "EMULATOR_MINUTES": str(folder / _MINUTES),
        "LAMBDA_WARM_TTL_SECONDS": "30",
        "LAMBDA_ACCOUNT_CONCURRENCY": "1000",  # as on AWS, however little memory there is
        "S3_DATA_DIR": str(folder / "s3"),
        "EMULATOR_MODE": mode,
        "EMULATOR_OWNER": str(owner),
        "EMULATOR_LEDGER": str(folder / _LEDGER),
        "EMULATOR_PLAIN_PORT": str(plain_port),
        "EMULATOR_WIRE_PORT": str(wire_port),
        "EMULATOR_ENDPOINT": f"https://127.0.0.1:{wire_port}",
    }
    if not signer.IS_SHIPPED_HERE:
        env["EMULATOR_SIGNER"] = str(signer.fetch(folder / "signer"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.aws.emulator.launch"],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    _started[process.pid] = process
    emulator = Emulator(process.pid, port, plain_port, wire_port, str(folder), mode)
    until = time.monotonic() + _START_S
    while not _answers(emulator):
        if process.poll() is not None or time.monotonic() > until:
            stop(emulator)
            raise AssertionError(f"the emulator did not come up:\n{emulator.told()}")
        time.sleep(0.05)
    return emulator


def stop(emulator: Emulator) -> None:
    """End it, with every process it has started."""
    with suppress(ProcessLookupError):
        os.killpg(emulator.pid, signal.SIGKILL)
    if process := _started.pop(emulator.pid, None):
        process.wait()


def shared(folder: Path, owner: int, mode: str) -> Emulator:
    """The emulator of this run, started by whichever worker comes first."""
    return Emulator(**once(folder, "emulator", lambda: asdict(start(folder / "emulator", owner, mode))))


def _answers(emulator: Emulator) -> bool:
    if not Path(emulator.certificate).exists():
        return False
    try:
        emulator.ask("GET", "/_ministack/health", timeout_s=20)
        return emulator.mode == "stock" or bool(emulator.ask("GET", "/_wire/health", 20, port=emulator.wire_port))
    except (OSError, HTTPException):
        return False
