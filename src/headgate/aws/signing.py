"""The signature (AWS's version 4) of what a function posts to an address of AWS: libraries make it, one of two.

`aws-sdk-signers` is AWS's signer by itself, and ships to every Python that it is published for. On 3.11 botocore
signs the same, and takes some megabytes more: docs/adr/0009-a-signer-by-itself.md has the figures.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit


class Credentials(NamedTuple):
    """What Lambda puts in the environment, by the names that botocore's signer has for it."""

    access_key: str
    secret_key: str
    token: str | None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Credentials:
        """Those in an environment."""
        return cls(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], environment.get("AWS_SESSION_TOKEN")
        )


class Signer(Protocol):
    """Signs for one address. Any number of threads may ask."""

    def signed(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers with which a POST of `body` is let in, for some minutes from now."""


def signer_for(service: str, region: str, url: str, credentials: Credentials) -> Signer:
    """The signer of this Python: the smaller one, wherever it was shipped."""
    try:
        return AwsSigner(service, region, url, credentials)
    except ImportError:
        return BotocoreSigner(service, region, url, credentials)


class AwsSigner:
    """By aws-sdk-signers. Raises ImportError where it is not there."""

    def __init__(self, service: str, region: str, url: str, credentials: Credentials) -> None:
        with _postponed("asyncio"):  # the library loads it for other signers than this one
            from aws_sdk_signers import URI, AWSCredentialIdentity, AWSRequest, Field, Fields, SigV4Signer

        where = urlsplit(url)
        self._made_request, self._made_fields, self._made_field = AWSRequest, Fields, Field
        self._uri = URI(scheme=where.scheme, host=_bracketed(str(where.hostname)), port=where.port, path=where.path)
        self._identity = AWSCredentialIdentity(
            access_key_id=credentials.access_key,
            secret_access_key=credentials.secret_key,
            session_token=credentials.token,
        )
        self._properties = {"service": service, "region": region}
        self._sign = SigV4Signer().sign

    def signed(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        fields = self._made_fields([self._made_field(name=name, values=[value]) for name, value in headers.items()])
        request = self._made_request(destination=self._uri, method="POST", body=io.BytesIO(body), fields=fields)
        done = self._sign(request=request, identity=self._identity, properties=self._properties)
        return {field.name: field.as_string() for field in done.fields}


class BotocoreSigner:
    """By the signer of botocore, without the rest of the SDK."""

    def __init__(self, service: str, region: str, url: str, credentials: Credentials) -> None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        self._url = url
        self._made_request = AWSRequest
        self._signer = SigV4Auth(credentials, service, region)

    def signed(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        request = self._made_request("POST", self._url, headers=dict(headers), data=body)
        self._signer.add_auth(request)
        return dict(request.headers.items())


class _Later(ModuleType):
    """Stands for a module of that name, which is loaded once anything of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def _postponed(name: str) -> Iterator[None]:
    """Who imports a module meanwhile has it loaded when it is used, if ever."""
    stand_in = None if name in sys.modules else _Later(name)
    if stand_in is not None:
        sys.modules[name] = stand_in
    try:
        yield
    finally:
        if stand_in is not None and sys.modules.get(name) is stand_in:
            del sys.modules[name]


def _bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
