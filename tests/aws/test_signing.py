"""Both signers make the signature that AWS asks for: the same one, for whatever is sent."""

from __future__ import annotations

import os
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.aws.signing import AwsSigner, BotocoreSigner, Credentials, signer_for
from tests.aws.emulator import signer

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
URL = "https://dynamodb.us-east-1.amazonaws.com/"
HEADERS = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.PutItem"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The library of AWS's signer can be imported, even where it is not installed: then it is in this folder."""
    if signer.IS_SHIPPED_HERE:
        yield ""
        return
    folder = str(signer.fetch(tmp_path_factory.mktemp("signer")))
    sys.path.append(folder)
    yield folder
    sys.path.remove(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "aws_sdk_signers"]:
        del sys.modules[name]


@pytest.mark.usefixtures("shipped")
def test_both_make_the_same_headers_for_whatever_is_sent() -> None:
    chance = random.Random(7)
    for _ in range(400):
        how = _address(chance)
        headers, body = _headers(chance), chance.randbytes(chance.choice((0, 1, 300, 70_000)))
        ours, reference = AwsSigner(*how), BotocoreSigner(*how)
        for _ in range(3):  # until both have signed in one second
            made, expected = ours.signed(headers, body), reference.signed(headers, body)
            if made["X-Amz-Date"] == expected["X-Amz-Date"]:
                break
        assert made == expected, how
        assert set(made) - set(headers) >= {"Authorization", "X-Amz-Date"}


@pytest.mark.usefixtures("shipped")
def test_another_body_has_another_signature() -> None:
    for made in (AwsSigner, BotocoreSigner):
        one = made("dynamodb", "us-east-1", URL, KEYS)
        first, second = one.signed(HEADERS, b"{}"), one.signed(HEADERS, b"{ }")
        assert first["X-Amz-Date"] != second["X-Amz-Date"] or first["Authorization"] != second["Authorization"]


@pytest.mark.usefixtures("shipped")
def test_the_smaller_one_signs_wherever_it_was_shipped() -> None:
    assert isinstance(signer_for("dynamodb", "us-east-1", URL, KEYS), AwsSigner)


def test_what_the_library_loads_for_other_signers_is_there_for_whoever_uses_them(shipped: str) -> None:
    program = """
import sys
from headgate.aws.signing import AwsSigner, Credentials
AwsSigner("dynamodb", "us-east-1", "https://an.example/", Credentials("key", "secret", None))
assert "asyncio" not in sys.modules
from aws_sdk_signers import AsyncEventSigner
AsyncEventSigner(initial_signature=b"", event_encoder_cls=dict)
import asyncio
assert asyncio.run(asyncio.sleep(0, "done")) == "done"
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": shipped}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True)


def test_botocore_signs_where_the_smaller_one_was_not_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_sdk_signers", None)
    assert isinstance(signer_for("dynamodb", "us-east-1", URL, KEYS), BotocoreSigner)


def _address(chance: random.Random) -> tuple[Any, ...]:
    region = chance.choice(("us-east-1", "eu-west-1", "us-gov-west-1", "cn-north-1"))
    service = chance.choice(("dynamodb", "kinesis", "sqs", "states"))
    scheme = chance.choice(("http", "https"))
    host = chance.choice((f"{service}.{region}.amazonaws.com", "127.0.0.1", "[::1]", "localhost", "Some.example"))
    port = chance.choice(("", ":443", ":80", ":4566"))
    path = chance.choice(("/", "/below/", "/a b/", "/%7Euser/", "/a~b/", "/ä/", "/a//b/../c/", "/a=b&c/"))
    secret = "".join(chance.choices(string.ascii_letters + string.digits + "+/", k=40))
    token = "".join(chance.choices(string.ascii_letters + "+/=", k=chance.choice((1, 400, 1200))))
    credentials = Credentials(f"AKID{chance.randrange(10**12)}", secret, chance.choice((token, None)))
    return service, region, f"{scheme}://{host}{port}{path}", credentials


def _headers(chance: random.Random) -> dict[str, str]:
    more = {
        "X-Amz-Meta": "".join(chance.choices(string.printable[:95], k=30)).strip() or "-",
        "User-Agent": "a  b",
        "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678",
    }
    return HEADERS | {name: value for name, value in more.items() if chance.random() < 0.5}
