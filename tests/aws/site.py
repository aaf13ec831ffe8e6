"""The app of tests/aws/intake, deployed: asked with good credentials, and looked into."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from headgate.aws.clients import Clients
from headgate.aws.keys import DynamoKeys
from headgate.cdk.outputs import channel_table, pascal
from headgate.clock import SystemClock
from headgate.declare.app import App
from headgate.declare.load import load_app
from headgate.gate.verify import new_api_key
from headgate.testing.answer import Answer, Headers
from headgate.testing.credentials import Credentials
from tests.aws.emulator.deployment import Deployed

LARGE = "x" * 40_000
"""A text with which a body does not fit into a row."""
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Site:
    """`settings` and `api_keys` are what its senders know."""

    deployed: Deployed
    app: App
    settings: Mapping[str, str]
    api_keys: Mapping[str, str]

    def function(self, channel: str, duty: str) -> str:
        """The name of the function of a channel: its `Ingest`, `Query` or `Authorizer`."""
        return self.deployed.functions()[f"{pascal(channel)}{duty}"]

    def post(self, channel: str, message: object, sender: str = "alice") -> Answer:
        """Post, with good credentials."""
        body = json.dumps(message).encode()
        headers = {"Content-Type": "application/json", **self._credentials(channel, body, sender)}
        return self.ask("POST", f"/{channel}", body, headers)

    def read(self, channel: str, rest: str, sender: str = "alice") -> Answer:
        """GET what is behind a channel."""
        return self.ask("GET", f"/{channel}{rest}", None, self._credentials(channel, b"", sender))

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One request, as it is."""
        place = urlsplit(self.deployed.url)
        connection = http.client.HTTPConnection(place.netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, place.path + path, body, dict(headers))
            reply = connection.getresponse()
            return Answer(reply.status, Headers(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def rows(self, channel: str, keys: Sequence[str]) -> int:
        """How many rows there are with these keys."""
        table = self.deployed.outputs[channel_table(channel)]
        client = self.deployed.emulator.client("dynamodb")
        pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return sum(item["id"]["S"] in keys for page in pages for item in page["Items"])

    def _credentials(self, channel: str, body: bytes, sender: str) -> dict[str, str]:
        found = next(one for one in self.app.channels if one.name == channel)
        signer = Credentials(self.settings, SystemClock(), self.api_keys)
        return signer.headers(found, body, sender=sender, id_=f"msg_{uuid4()}")


def senders_of(app: Deployed) -> dict[str, Any]:
    """Secrets and keys, made up and set: what is to be known of a site beside its deployment."""
    settings = {
        "INTAKE_JWT_SECRET": secrets.token_urlsafe(32),
        "INTAKE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    for name, value in settings.items():
        app.set_secret(name, value)
    return {"settings": settings, "api_keys": {"keyed": add_api_key(app, "keyed", "alice")}}


def site_of(app: Deployed, known: Mapping[str, Any]) -> Site:
    """The site, as its senders know it."""
    return Site(app, load_app(str(app.project)), known["settings"], known["api_keys"])


def add_api_key(app: Deployed, channel: str, name: str) -> str:
    """What `headgate keys add` does for a deployed app."""
    clock = SystemClock()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in app.emulator.env.items():
            patch.setenv(variable, value)
        shown, row = new_api_key(channel, name, clock.now_ms())
        DynamoKeys(app.outputs["KeysTableName"], Clients(clock), clock).add_api_key(row)
    return shown


def new_note(**fields: object) -> dict[str, object]:
    """A message for any channel of the app."""
    return {"id": str(uuid4()), **fields}
