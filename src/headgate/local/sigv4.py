"""AWS Signature Version 4, made by botocore from the request as it came. Needs the extra `iam`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from headgate.gate.effects import Resign, Resigned
from headgate.local.keys import IamKeyRow

_NOBODYS = "0" * 40
_AS_SENT = "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class _Resigning(SigV4Auth):  # type: ignore[misc] # botocore has no types
    """Signs the headers it is given, all of them; and the hash of the body that came, whatever a header says."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in request.context["fields"]:
            headers[name] = value  # adds: a name may come more than once
        return headers

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["digest"])

    def signed_by(self, request: AWSRequest) -> str:
        return str(self.signature(self.string_to_sign(request, self.canonical_request(request)), request))


def resigned(asked: Resign, row: IamKeyRow | None, now_ms: int) -> Resigned | None:
    """The answer to `Resign`, made with the access key `row`; an unknown one costs as much."""
    request = asked.request
    made = signature(
        _NOBODYS if row is None else row.secret,
        request.method,
        request.path,
        request.query,
        request.fields,
        asked.signed,
        asked.digest,
        asked.stamp,
        asked.region,
        asked.service,
    )
    if row is None:
        return None
    return Resigned(made, row.session_token, row.channel, row.expires_ms is not None and row.expires_ms <= now_ms)


def signature(
    secret: str,
    method: str,
    path: str,
    query: str,
    fields: Iterable[tuple[bytes, bytes]],
    signed: Sequence[str],
    digest: str,
    stamp: str,
    region: str,
    service: str,
) -> str:
    """The signature of a request. `path` and `query` are as sent, read as Latin-1, and without #; `digest` is the
    body's SHA-256.

    `signed` names the headers to sign, in lower case.
    """
    request = AWSRequest(method, "http://host")
    request.url = f"http://host{_text(path.encode('latin-1'))}?{_ascii(query)}"
    request.context.update(
        timestamp=stamp,
        digest=digest,
        fields=[(name.decode("latin-1"), _text(value)) for name, value in fields if name.decode("latin-1") in signed],
    )
    return _Resigning(Credentials("", secret), service, region).signed_by(request)


def _ascii(sent: str) -> str:
    """A query as it was sent, with bytes that do not belong there percent-encoded, as its sender did for signing. Of a
    path botocore does that itself."""
    return quote(sent.encode("latin-1"), safe=_AS_SENT)


def _text(value: bytes) -> str:
    """What was sent, as its sender signed it: UTF-8, else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
