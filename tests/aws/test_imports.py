"""What each function loads before its first answer: a list of modules, since time differs from machine to machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aws.emulator import signer
from tests.aws.endpoint import answering

APP = """
from pydantic import BaseModel
from headgate import ApiKey, App, Jwt, Public, Secret, Signed

class Order(BaseModel):
    id: str

app = App("shop")
app.channel("/public", Order, key="id", auth=Public(), read=True, indexes=["n"])
app.channel("/many", Order, key="id", auth=Public(), many=True)
app.channel("/signed", Order, key="id", auth=Signed("a secret that is long enough"))
app.channel("/keyed", Order, key="id", auth=ApiKey())
app.channel("/token", Order, key="id", auth=Jwt(secret="0123456789abcdef0123456789abcdef", issuer="a", audience="b"))
"""

PROGRAM = """
import sys
before = set(sys.modules)
from headgate.aws.lambdas.{entry} import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 20_000

headers = {{"Content-Type": "application/json", "Authorization": "Bearer a.b.c"}}
event = {{
    "resource": "/{channel}{below}", "path": "/{channel}/1" if "{below}" else "/{channel}", "httpMethod": "{method}",
    "headers": headers, "requestContext": {{"authorizer": {{"principalId": "alice"}}}}, "body": '{body}',
    "methodArn": "arn:aws:execute-api:eu-west-1:111122223333:abc/prod/POST/{channel}",
}}
try:
    told = handler(event, Context())["statusCode"]
except Exception as error:
    told = error
with open("loaded", "w") as told_here:
    told_here.write("\\n".join([str(told), *sorted(set(sys.modules) - before)]))
"""

OURS = {
    "headgate", "annotated_types", "jiter", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection",
    "uuid_utils",
}  # fmt: skip
"""What may be loaded of what others wrote; `headgate` is looked at below."""
SIGNER = {"aws_sdk_signers"}
"""Whoever calls DynamoDB signs."""
OLDER_SIGNER = {"botocore", "certifi", "dateutil", "jmespath", "six", "urllib3"}
"""What signs in its place in functions of Python 3.11."""
FOR_MANY = {"msgspec"}
FOR_TOKENS = {"jwt", "cryptography", "cffi", "_cffi_backend"}
COSTLY = {
    "asyncio", "ctypes.util", "difflib", "doctest", "encodings.idna", "multiprocessing", "pdb", "pydoc", "sqlite3",
    "tkinter", "unittest", "urllib.request", "xmlrpc",
}  # fmt: skip
"""Of the standard library, what no function of ours needs; the one that tokens bring along looks for no keys."""
ASL = {"headgate.declare.asl", "headgate.declare.compile", "headgate.declare.workflow"}
"""Of ours, what is for the functions that run workflows."""


CLIENT = {"botocore.session", "botocore.client", "botocore.credentials", "botocore.loaders"}
"""Of the SDK, what only large bodies and secrets need."""


@pytest.mark.parametrize(
    ("entry", "channel", "told", "more"),
    [
        ("ingest", "public", "201", SIGNER),
        ("ingest", "many", "201", SIGNER | FOR_MANY),
        ("ingest", "signed", "401", SIGNER),
        ("ingest", "token", "201", SIGNER),
        ("query", "public", "404", SIGNER),
        ("authorizer", "keyed", "Unauthorized", SIGNER),
        ("authorizer", "token", "Unauthorized", FOR_TOKENS),
    ],
)
def test_a_function_loads_what_it_needs_and_no_more(
    tmp_path: Path, shipped: str, entry: str, channel: str, told: str, more: set[str]
) -> None:
    modules, answer = loaded(tmp_path, entry, channel, shipped)
    assert answer == told
    assert others(modules) - OURS - more == set()
    assert modules & COSTLY <= ({"urllib.request"} if more == FOR_TOKENS else set())
    assert modules & ASL == set()
    ours = {name for name in modules if name.startswith("headgate.")}
    unfit = ("headgate.local", "headgate.cdk", "headgate.cli", "headgate.testing", "headgate.describe")
    assert {name for name in ours if name.startswith(unfit)} == set()
    assert ("headgate.gate.tokens" in ours) is (more == FOR_TOKENS)
    assert ("headgate.aws.index" in ours) is (entry != "authorizer")


@pytest.mark.skipif(signer.IS_SHIPPED_HERE, reason="the smaller signer is there")
def test_where_the_smaller_signer_is_not_shipped_no_client_is_loaded_either(tmp_path: Path) -> None:
    modules, answer = loaded(tmp_path, "ingest", "public")
    assert answer == "201"
    assert others(modules) - OURS - OLDER_SIGNER == set()
    assert modules & CLIENT == set()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the signer of the default runtime can be imported from, if it cannot be anyway."""
    return "" if signer.IS_SHIPPED_HERE else str(signer.fetch(tmp_path_factory.mktemp("signer")))


def others(modules: set[str]) -> set[str]:
    """The packages that others wrote."""
    third = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    return {name for name in third if not name.startswith(("_", "app"))}


def loaded(folder: Path, entry: str, channel: str, shipped: str = "") -> tuple[set[str], str]:
    """The modules that are there after the first request, and what came of that."""
    (folder / "app.py").write_text(APP)
    method, below = ("GET", "/{key}") if entry == "query" else ("POST", "")
    body = '[{"id": "1"}]' if channel == "many" else '{"id": "1"}'
    program = PROGRAM.format(entry=entry, channel=channel, method=method, below=below, body=body)
    with answering() as endpoint:
        endpoint.answer = lambda _: (200, {})
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": shipped,
                **endpoint.environment(),
                "HEADGATE_APP": "app:app",
                "HEADGATE_CHANNEL": channel,
                "HEADGATE_TABLE": "a-table",
                "HEADGATE_BODIES": "a-bucket",
                "HEADGATE_KEYS": "a-table" if channel == "keyed" else "",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            },
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    answer, *modules = (folder / "loaded").read_text().splitlines()
    return set(modules), answer
