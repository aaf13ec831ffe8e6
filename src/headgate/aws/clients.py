"""AWS, called through botocore: clients are made when they are first needed, and nothing is tried when time is up.

The SDK itself tries again, in its standard mode: three times in all, with growing and random pauses. In a function
DynamoDB is called without its client; see aws/wire.py.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from headgate import limits
from headgate.aws.wire import ATTEMPTS, CONNECT_S, READ_S, OutOfTime, Wire
from headgate.clock import Clock
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S

log = logging.getLogger("headgate.aws")

CONNECTIONS = 32
"""How many calls of one service may be under way at a time before connections are thrown away."""

_PATIENCE_S = {"lambda": limits.HANDLER_TIME.value + 60}
"""A function that is called answers when it is done, and is not to be called again meanwhile."""
_REPLY_S = 0.5  # what a function needs to answer once a call has failed
_LIGHT = ("dynamodb", "secretsmanager", "stepfunctions")  # S3 still asks that list about regions that are not called so
NOT_RUN = frozenset(
    {
        "ExecutionAlreadyExists", "ExecutionDoesNotExist", "ExecutionNotRedrivable", "InvalidExecutionInput",
        "InvalidName", "StateMachineDoesNotExist",
    }
)  # fmt: skip
"""Why Step Functions does not start, stop or redrive an execution."""
_MEANT = NOT_RUN | frozenset(
    {
        "InvalidToken",
        "ConditionalCheckFailedException", "TransactionCanceledException", "TransactionConflictException",
        "PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "NotFound", "404",
        "InvalidArgumentException",
    }
)  # fmt: skip


class Declined(Exception):
    """AWS did not do it, for a reason that is part of what was asked: `code` is its name, `answer` what came back."""

    def __init__(self, code: str, answer: dict[str, Any]) -> None:
        super().__init__(code)
        self.code = code
        self.answer = answer


class Clients:
    """Where calls go out; may be used from any number of threads. Region, profile and endpoint are those of the
    environment, as the AWS CLI takes them, unless given; `wire` is what calls DynamoDB in a function."""

    def __init__(
        self, clock: Clock, *, region: str | None = None, profile: str | None = None, wire: Wire | None = None
    ) -> None:
        self._clock = clock
        self._wire = wire
        self._region = region
        self._profile = profile
        self._until_s = float("inf")
        self._made: dict[str, Any] = {}
        self._making = threading.Lock()

    def within(self, seconds: float) -> None:
        """From here on, a call is over before so many seconds have passed."""
        self._until_s = self._clock.elapsed_s() + seconds - _REPLY_S

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Raises Declined, or Unavailable where nothing is known of what became of it, or nothing came of it."""
        try:
            if service == "dynamodb" and self._wire is not None:
                return self._over_wire(self._wire, operation, parameters)
            return self._through_client(service, operation, parameters)
        except Declined as declined:
            if declined.code in _MEANT:
                raise
            why = declined.code
        except Exception as error:  # noqa: BLE001 - whatever the network or the SDK comes up with
            why = type(error).__name__
        log.error("a call of AWS failed service=%s operation=%s reason=%s", service, operation, why)
        raise Unavailable(retry_after_s=RETRY_AFTER_S)

    def _over_wire(self, wire: Wire, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        action = "".join(word.capitalize() for word in operation.split("_"))
        told = wire.call(action, parameters, self._until_s)
        if told.status != 200:
            raise Declined(told.code, told.answer)
        return told.answer

    def _through_client(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        try:
            return getattr(self.client(service), operation)(**parameters)  # type: ignore[no-any-return]
        except ClientError as error:
            raise Declined(str(error.response.get("Error", {}).get("Code", "")), error.response) from None

    def client(self, service: str) -> Any:
        """The client of a service, as in `dynamodb`."""
        if service not in self._made:
            with self._making:
                if service not in self._made:
                    self._made[service] = self._make(service)
        return self._made[service]

    def _make(self, service: str) -> Any:
        from botocore.config import Config
        from botocore.loaders import Loader
        from botocore.session import Session

        session = Session(profile=self._profile)
        if service in _LIGHT:
            session.register_component("data_loader", _light(Loader)())
        client = session.create_client(
            service,
            region_name=self._region or os.environ.get("AWS_REGION") or None,  # botocore knows only the older name
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=_PATIENCE_S.get(service, READ_S),
                tcp_keepalive=service in _PATIENCE_S,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                max_pool_connections=CONNECTIONS,
            ),
        )
        client.meta.events.register("before-send", self._check_time)
        return client

    def _check_time(self, **_: Any) -> None:
        if self._clock.elapsed_s() + CONNECT_S + READ_S > self._until_s:
            raise OutOfTime


def _light(loader: Any) -> Any:
    """botocore's loader, but for the list of each service in each region, which takes 9 MB. Endpoint rules have
    replaced it; what is left of it is what the rules' own list of partitions tells."""

    class Loader(loader):  # type: ignore[misc]
        def load_data_with_path(self, name: str) -> Any:
            if name != "endpoints":
                return super().load_data_with_path(name)
            return {"version": 3, "partitions": list(map(_partition, self.load_data("partitions")["partitions"]))}, ""

    return Loader


def _partition(rules: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"hostname": "{service}.{region}.{dnsSuffix}", "protocols": ["https"], "signatureVersions": ["v4"]}
    return {
        "partition": rules["id"],
        "dnsSuffix": rules["outputs"]["dnsSuffix"],
        "regionRegex": rules["regionRegex"],
        "regions": rules["regions"],
        "defaults": defaults,
        "services": {},
    }
