"""DynamoDB over its JSON protocol, for functions: a library signs (aws/signing.py), and no client is loaded.

The SDK's client takes as long to load as all the rest: docs/adr/0007-dynamodb-without-the-client.md has the figures.
Faults are met as the SDK meets them in its standard mode: three tries in all, with random and growing pauses.
"""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headgate.aws.signing import Credentials, signer_for
from headgate.clock import Clock

ATTEMPTS = 3
CONNECT_S, READ_S = 1, 3

_AGAIN = frozenset(
    {
        "InternalServerError", "LimitExceededException", "ProvisionedThroughputExceededException",
        "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "ServiceUnavailable", "Throttling",
        "ThrottlingException", "TooManyRequestsException", "TransactionInProgressException",
    }
)  # fmt: skip
_AGAIN_STATUS = (500, 502, 503, 504)


class OutOfTime(Exception):
    """There is not enough time left for another try."""


class Told(NamedTuple):
    """What DynamoDB answers; `code` is the name of the error, empty where it did what was asked."""

    status: int
    code: str
    answer: dict[str, Any]

    @property
    def is_passing(self) -> bool:
        """Whether another try may end better."""
        return self.code in _AGAIN or self.status in _AGAIN_STATUS


class Wire:
    """Calls DynamoDB with the region, the credentials and the endpoint that a function's environment names. Any number
    of threads may call; connections are kept open, as many as there were calls at a time."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        self._idle: list[HTTPConnection] = []
        region = environment.get("AWS_REGION") or environment["AWS_DEFAULT_REGION"]
        given = environment.get("AWS_ENDPOINT_URL_DYNAMODB") or environment.get("AWS_ENDPOINT_URL")
        url = (given or f"https://dynamodb.{region}.{dns_suffix(region)}").rstrip("/") + "/"
        self._where = urlsplit(url)
        self._signer = signer_for("dynamodb", region, url, Credentials.read(environment))
        secure = self._where.scheme == "https"
        self._trust = ssl.create_default_context(cafile=environment.get("AWS_CA_BUNDLE")) if secure else None
        self._clock = clock

    def __del__(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def call(self, action: str, asked: Mapping[str, Any], until_s: float) -> Told:
        """Carry out an action, as in `PutItem`. No try begins that may not be over at `until_s` of the clock.

        Raises OutOfTime; OSError, HTTPException or ValueError where no answer came that can be understood.
        """
        body = json.dumps(asked, default=_as_text).encode()
        attempt = 0
        while True:
            if self._clock.elapsed_s() + CONNECT_S + READ_S > until_s:
                raise OutOfTime
            attempt += 1
            try:
                told = self._exchange(action, body)
            except (OSError, HTTPException, ValueError):
                if attempt == ATTEMPTS:
                    raise
            else:
                if attempt == ATTEMPTS or not told.is_passing:
                    return told
            time.sleep(random.uniform(0, 2 ** (attempt - 1)))  # noqa: S311 - no secret

    def _exchange(self, action: str, body: bytes) -> Told:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"DynamoDB_20120810.{action}"}
        signed = self._signer.signed(headers, body)
        while self._idle:
            with suppress(ConnectionError, IndexError):  # closed while the function was asleep: that counts as no try
                return self._ask(self._idle.pop(), body, signed)
        return self._ask(self._connected(), body, signed)

    def _ask(self, connection: HTTPConnection, body: bytes, headers: Mapping[str, str]) -> Told:
        try:
            connection.request("POST", self._where.path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        answer = json.loads(content, object_hook=_with_bytes)
        if not isinstance(answer, dict):
            raise ValueError("an answer is an object")
        code = "" if response.status == 200 else str(answer.get("__type", "")).rpartition("#")[2]
        return Told(response.status, code, answer)

    def _connected(self) -> HTTPConnection:
        host, port = str(self._where.hostname), self._where.port
        connection = (
            HTTPConnection(host, port) if self._trust is None else HTTPSConnection(host, port, context=self._trust)
        )
        name = host.encode() if host.isascii() else host  # text would load the tables for names in other scripts
        opened = socket.create_connection((name, connection.port), timeout=CONNECT_S)  # type: ignore[arg-type]
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust is not None:
                opened = self._trust.wrap_socket(opened, server_hostname=name)
            opened.settimeout(READ_S)
        except BaseException:
            opened.close()
            raise
        connection.sock = opened
        return connection


def dns_suffix(region: str) -> str:
    """What the names of AWS's hosts end in, in a region."""
    found = find_spec("botocore")  # in every Python runtime of Lambda; of it only this file is read
    told = Path(str(found and found.origin)).with_name("data").joinpath("partitions.json").read_bytes()
    partitions = json.loads(told)["partitions"]
    fitting = (each for each in partitions if region in each["regions"] or re.match(each["regionRegex"], region))
    return str(next(fitting, partitions[0])["outputs"]["dnsSuffix"])


def _as_text(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(type(value).__name__)
    return base64.b64encode(value).decode()


def _with_bytes(found: dict[str, Any]) -> dict[str, Any]:
    binary = found.get("B")
    return {"B": base64.b64decode(binary)} if isinstance(binary, str) and len(found) == 1 else found
