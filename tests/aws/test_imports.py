"""What each function loads before its first answer: a list of modules, since time differs from machine to machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aws.endpoint import answering

APP = """
from pydantic import BaseModel
from headgate import ApiKey, App, Jwt, Public, Secret, Signed

class Order(BaseModel):
    id: str

app = App("shop")
app.channel("/public", Order, key="id", auth=Public(), read=True, indexes=["n"])
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
    "headers": headers, "requestContext": {{"authorizer": {{"principalId": "alice"}}}}, "body": '{{"id": "1"}}',
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
    "headgate", "annotated_types", "botocore", "certifi", "dateutil", "jiter", "jmespath", "msgspec", "pydantic",
    "pydantic_core", "six", "typing_extensions", "typing_inspection", "urllib3", "uuid_utils",
}  # fmt: skip
"""What may be loaded of what others wrote; `headgate` is looked at below."""
FOR_TOKENS = {"jwt", "cryptography", "cffi", "_cffi_backend"}
COSTLY = {
    "asyncio",
    "sqlite3",
    "multiprocessing",
    "unittest",
    "pydoc",
    "tkinter",
    "xmlrpc",
    "ctypes.util",
    "pdb",
    "doctest",
}
"""Of the standard library, what no function of ours needs."""


CLIENT = {"botocore.session", "botocore.client", "botocore.credentials", "botocore.loaders"}
"""Of the SDK, what only large bodies and secrets need."""


@pytest.mark.parametrize(
    ("entry", "channel", "told", "more"),
    [
        ("ingest", "public", "201", set()),
        ("ingest", "signed", "401", set()),
        ("ingest", "token", "201", set()),
        ("query", "public", "404", set()),
        ("authorizer", "keyed", "Unauthorized", set()),
        ("authorizer", "token", "Unauthorized", FOR_TOKENS),
    ],
)
def test_a_function_loads_what_it_needs_and_no_more(
    tmp_path: Path, entry: str, channel: str, told: str, more: set[str]
) -> None:
    modules, answer = loaded(tmp_path, entry, channel)
    assert answer == told
    third = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    others = {name for name in third if not name.startswith(("_", "app"))}
    assert others - OURS - more == set()
    assert modules & COSTLY == set()
    assert modules & CLIENT == set()
    ours = {name for name in modules if name.startswith("headgate.")}
    unfit = ("headgate.local", "headgate.cdk", "headgate.cli", "headgate.testing", "headgate.describe")
    assert {name for name in ours if name.startswith(unfit)} == set()
    assert ("headgate.gate.tokens" in ours) is bool(more)
    assert ("headgate.aws.index" in ours) is (entry != "authorizer")


def test_an_authorizer_that_asks_nobody_does_without_the_sdk(tmp_path: Path) -> None:
    modules, _ = loaded(tmp_path, "authorizer", "token")
    assert "botocore" not in modules


def loaded(folder: Path, entry: str, channel: str) -> tuple[set[str], str]:
    """The modules that are there after the first request, and what came of that."""
    (folder / "app.py").write_text(APP)
    method, below = ("GET", "/{key}") if entry == "query" else ("POST", "")
    program = PROGRAM.format(entry=entry, channel=channel, method=method, below=below)
    with answering() as endpoint:
        endpoint.answer = lambda _: (200, {})
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
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
