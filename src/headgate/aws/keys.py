"""Credentials on AWS: API keys in a table, secrets in Secrets Manager, and the public keys that issuers publish.

Why API keys do not lie in Secrets Manager too: docs/adr/0005-api-keys-in-dynamodb.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headgate.aws.clients import Clients
from headgate.aws.layout import API_KEYS
from headgate.clock import Clock
from headgate.engine import ApiKeyRow, Keys
from headgate.errors import Unavailable

if TYPE_CHECKING:
    from headgate.issuers import Issuers, Jwks

FRESH_S = 300
"""A secret that was rotated is in use after so many seconds at the latest; `Signed` takes the old one beside it."""
AGAIN_S = 10
"""After a failure, secrets are asked for at most this often."""


class DynamoKeys(Keys):
    """API keys in `table`; each look-up reads it, so that a removed key opens nothing from then on."""

    def __init__(self, table: str, clients: Clients, clock: Clock) -> None:
        self._table = table
        self._clients = clients
        self._clock = clock

    def api_key(self, id: str) -> ApiKeyRow | None:
        if not id:
            return None
        found = self._call("get_item", Key=_key(id), ConsistentRead=True).get("Item")
        return None if found is None else _row(found)

    def add_api_key(self, row: ApiKeyRow) -> None:
        self._call(
            "put_item",
            Item={
                **_key(row.id),
                "channel": {"S": row.channel},
                "name": {"S": row.name},
                "digest": {"B": row.digest},
                "created_ms": {"N": str(row.created_ms)},
            },
        )

    def remove_api_key(self, id: str) -> bool:
        return bool(self._call("delete_item", Key=_key(id), ReturnValues="ALL_OLD").get("Attributes"))

    def api_keys(self) -> list[ApiKeyRow]:
        rows: list[ApiKeyRow] = []
        start: dict[str, Any] = {}
        while True:
            answer = self._call("scan", ConsistentRead=True, **start)
            rows += map(_row, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return sorted(rows, key=lambda row: (row.created_ms, row.id))
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def jwks(self, url: str, *, missing: bool) -> Jwks:
        return self._issuers.jwks(url, missing=missing)

    @cached_property
    def _issuers(self) -> Issuers:
        from headgate.issuers import Issuers  # only some functions ask issuers, and it loads another HTTP client

        return Issuers(self._clock)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._clients.call("dynamodb", operation, TableName=self._table, **parameters)


class Secrets:
    """The values of an app's secrets, by their names there; `arns` says where each lies in Secrets Manager."""

    def __init__(self, arns: Mapping[str, str], clients: Clients, clock: Clock) -> None:
        self._arns = arns
        self._clients = clients
        self._clock = clock
        self._values: dict[str, str] | None = None
        self._asked_s = float("-inf")

    def values(self) -> Mapping[str, str]:
        """Kept for FRESH_S; in an outage the last good ones stay in use. Raises Unavailable where there are none."""
        now_s = self._clock.elapsed_s()
        if self._values is not None and now_s - self._asked_s < FRESH_S:
            return self._values
        try:
            self._values = {name: self._value(arn) for name, arn in self._arns.items()}
            self._asked_s = now_s
        except Unavailable:
            if self._values is None:
                raise
            self._asked_s = now_s - FRESH_S + AGAIN_S
        return self._values

    def _value(self, arn: str) -> str:
        return str(self._clients.call("secretsmanager", "get_secret_value", SecretId=arn)["SecretString"])


def _key(id: str) -> dict[str, Any]:
    return {API_KEYS.name: {"S": id}}


def _row(values: Mapping[str, Any]) -> ApiKeyRow:
    return ApiKeyRow(
        values[API_KEYS.name]["S"],
        values["channel"]["S"],
        values["name"]["S"],
        values["digest"]["B"],
        int(values["created_ms"]["N"]),
    )
