"""Everything that can go wrong, as one tree. Each leaf has one plain sentence and one HTTP status or exit code.

HeadgateError
├── DeclarationError        the app says something that cannot be done      exit 2
├── Misuse                  a command cannot do what was asked              exit 2
│   └── NotRun              a workflow cannot be started, stopped, redriven exit 2
├── NotDone                 AWS, or a tool, did not do what was asked       exit 1
├── Refusal                 turned away at the gate                         4xx
│   ├── MalformedHttp       the request is not HTTP as we read it           400
│   ├── Malformed           the body is not the JSON we accept              400
│   ├── Invalid             the body is not what the channel accepts        400
│   ├── Unauthorized        no credentials, or bad ones                     401
│   ├── Forbidden           good credentials, not allowed here              403
│   ├── NotFound            nothing here under that name                    404
│   ├── MethodNotAllowed    something is here, but not for that verb        405
│   ├── RequestTimeout      the request did not arrive in time              408
│   ├── Conflict            the key is taken by another body                409
│   ├── InProgress          a twin is being stored at this moment           409
│   ├── TooLarge            more bytes or items than the channel takes      413
│   ├── UriTooLong          the request target is too long                  414
│   ├── UnsupportedMedia    the body is not declared as JSON                415
│   ├── TooManyRequests     faster than the channel's throttle              429
│   └── HeadersTooLarge     more headers than we read                       431
└── Fault                   ours                                            5xx
    ├── Broken              a mistake in the app or in headgate             500
    └── Unavailable         the store cannot take it now                    503
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class FieldFault(NamedTuple):
    """One thing wrong with a body.

    `pointer` is a JSON pointer (RFC 6901) into the body, `""` being the whole of it; `detail` a sentence;
    `type` a stable word to switch on (pydantic's error type, or one of headgate's own).
    """

    pointer: str
    detail: str
    type: str


class DeclarationFault(NamedTuple):
    """One thing that cannot be declared so. `where` is `file:line`."""

    where: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


class HeadgateError(Exception):
    """Root of all errors that headgate raises on purpose."""


class DeclarationError(HeadgateError):
    """The declaration cannot be honoured; `faults` holds every reason, not just the first."""

    def __init__(self, *faults: DeclarationFault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Misuse(HeadgateError):
    """A command cannot do what was asked; the text says what to do instead."""


class NotRun(Misuse):
    """An execution cannot be started, stopped or redriven; `code` is the name Step Functions gives the reason."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class NotDone(HeadgateError):
    """AWS, or a tool that a command needs, did not do what it was asked; the text says why."""


class Answerable(HeadgateError):
    """An error that an HTTP client is told about."""

    status: ClassVar[int]
    title: ClassVar[str]
    sentence: ClassVar[str]
    reason: str
    faults: tuple[FieldFault, ...]
    retry_after_s: int | None
    headers: tuple[tuple[str, str], ...]

    def __init__(
        self,
        sentence: str | None = None,
        *,
        reason: str | None = None,
        faults: tuple[FieldFault, ...] = (),
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.detail = sentence or self.sentence
        super().__init__(self.detail)
        self.reason = reason or type(self).reason
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.headers = headers


class Refusal(Answerable):
    """Turned away at the gate: the sender has to change something. Counted by `reason`; leaves no row."""


class MalformedHttp(Refusal):
    status, title, reason = 400, "Malformed request", "malformed_http"
    sentence = "The request is not valid HTTP/1.1."


class Malformed(Refusal):
    status, title, reason = 400, "Malformed body", "malformed"
    sentence = "The body is not valid JSON."


class Invalid(Refusal):
    status, title, reason = 400, "Invalid message", "invalid"
    sentence = "The message is not what this channel accepts."


class Unauthorized(Refusal):
    status, title, reason = 401, "Unauthorized", "unauthorized"
    sentence = "Send valid credentials for this channel."


class Forbidden(Refusal):
    status, title, reason = 403, "Forbidden", "forbidden"
    sentence = "These credentials are valid, but not for this channel."


class NotFound(Refusal):
    status, title, reason = 404, "Not found", "not_found"
    sentence = "There is nothing under this address."


class MethodNotAllowed(Refusal):
    status, title, reason = 405, "Method not allowed", "method_not_allowed"
    sentence = "This address does not take that method."


class RequestTimeout(Refusal):
    status, title, reason = 408, "Request timeout", "request_timeout"
    sentence = "The request did not arrive in time. Send it again."


class Conflict(Refusal):
    status, title, reason = 409, "Conflict", "conflict"
    sentence = "Another message with this key is already stored; it stands unchanged. Send this one under a new key."


class InProgress(Refusal):
    status, title, reason = 409, "In progress", "in_progress"
    sentence = "A message with this key is being stored right now. Send it again in a moment."


class TooLarge(Refusal):
    status, title, reason = 413, "Content too large", "too_large"
    sentence = "The body is larger than this channel takes."


class UriTooLong(Refusal):
    status, title, reason = 414, "URI too long", "uri_too_long"
    sentence = "The request target is too long."


class UnsupportedMedia(Refusal):
    status, title, reason = 415, "Unsupported media type", "unsupported_media"
    sentence = "Send JSON, with the header Content-Type: application/json."


class TooManyRequests(Refusal):
    status, title, reason = 429, "Too many requests", "throttled"
    sentence = "Requests arrive faster than this channel takes them. Wait, then send again."


class HeadersTooLarge(Refusal):
    status, title, reason = 431, "Request header fields too large", "headers_too_large"
    sentence = "The request has more bytes of headers than are read."


class Fault(Answerable):
    """Ours: the sender did nothing wrong and may send the same again."""


class Broken(Fault):
    status, title, reason = 500, "Internal server error", "broken"
    sentence = "Something went wrong on our side."


class Unavailable(Fault):
    status, title, reason = 503, "Service unavailable", "unavailable"
    sentence = "The message could not be stored right now. Send it again in a moment."
