"""What the functions ingest and query keep between their calls: one channel's gate, over one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of, channels_of
from headgate.aws.driver import Brought, Driver, Finishing
from headgate.aws.index import DynamoIndex
from headgate.aws.keys import Secrets
from headgate.aws.layout import layout_of
from headgate.aws.pages import Table
from headgate.aws.proxy import Event, answer_of, body_of, principal_of, request_of
from headgate.aws.settings import Settings
from headgate.aws.telemetry import Metrics, log_as_json
from headgate.aws.wire import Wire
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.auth import Public, Signed
from headgate.declare.channel import Channel
from headgate.errors import Answerable, Broken, Unavailable
from headgate.events import Faulted
from headgate.gate.answer import Gate
from headgate.gate.credentials import Bearer, ChannelVerifier, Verification, is_principal
from headgate.gate.effects import LookUpPrincipal
from headgate.gate.observe import Observer, site
from headgate.gate.verify import verifier_for
from headgate.http import Problem, Reply, Request, new_id


class Serving:
    """Made once for each environment of a function; everything that is costly is made here, before the first call."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, *, only_reads: bool = False) -> None:
        settings = Settings.read(environment)
        app = app_of(settings)
        self._only_reads = only_reads
        (self._channel,) = channels_of(app, settings)
        facts = {"app": app.name, "stage": settings.stage}
        log_as_json(facts)
        self._environment = environment
        self._clock = clock
        self._clients = Clients(clock, wire=Wire(environment, clock))
        self._secrets = Secrets(settings.secrets, self._clients, clock)
        self._driver = self._made_driver(app, settings)
        self._observer = Observer()
        self._metrics = Metrics(self._observer, facts, clock)
        self._gate: Gate | None = None
        self._gate_values: Mapping[str, str] = {}
        if not settings.secrets:
            self._current_gate()

    def _made_driver(self, app: App, settings: Settings) -> Driver:
        if self._channel.rowless and self._channel.stream is not None:
            from headgate.aws.stream import KinesisStream, log_of

            log = log_of(self._channel.stream, settings.stream)
            return Driver(stream=KinesisStream({self._channel.name: log}, self._clients, self._clock))
        table = Table(settings.table, layout_of(self._channel))
        index = DynamoIndex([table], settings.bodies, self._clients, self._clock)
        if self._channel.stream is not None and settings.stream:
            from headgate.aws.once import OnceStream
            from headgate.aws.stream import log_of

            logs = {self._channel.name: log_of(self._channel.stream, settings.stream)}
            return Driver(index, once=OnceStream(logs, index, self._clients, self._clock))
        if self._only_reads or not self._channel.finishes:
            return Driver(index)
        from headgate.aws.archive import S3Archive
        from headgate.aws.queue import DynamoQueue
        from headgate.aws.starts import starts_of

        starts = starts_of(app, self._channel, settings, self._clients, index.threads, self._clock)
        archive = S3Archive({self._channel.name: settings.archive}, self._clients, index.threads)
        queue = DynamoQueue(index, self._clients, self._clock)
        return Driver(index, finishing=Finishing(queue, archive, index.threads, starts))

    def answer(self, event: Event, remaining_s: float) -> dict[str, Any]:
        """The answer to one call, for which there are so many seconds."""
        self._clients.within(remaining_s)
        request = request_of(event, self._channel, self._clock)
        try:
            steps = self._current_gate().answer(request)
            reply = self._driver.run(steps, Brought(body_of(event), principal_of(event, self._channel)))
        except Unavailable as error:
            reply = self._failed(request, error, error)
        except Exception as error:  # noqa: BLE001 - what goes wrong beside the gate is not told to senders either
            reply = self._failed(request, Broken(), error)
        self._metrics.write()
        return answer_of(reply, bodiless=request.method == "HEAD")

    def _current_gate(self) -> Gate:
        """The gate with the secrets as they are by now."""
        values = self._secrets.values()
        if self._gate is None or values != self._gate_values:
            only = App(self._channel.name)
            only.channels.append(self._channel)
            known = {**self._environment, **values}
            self._gate = Gate(only, known, self._clock, self._observer, new_id, verifier_behind_api)
            self._gate_values = values
        return self._gate

    def _failed(self, request: Request, error: Answerable, cause: Exception) -> Reply:
        self._observer.told(Faulted(self._channel.name, error.reason, error.status, request.id, site(cause)))
        return Problem.of(error, request.id).reply().with_headers(("X-Request-Id", request.id))


class LetIn:
    """Takes API Gateway's word for who it is. Where there is none, nobody is let in."""

    needs_body = False

    def __init__(self, channel: str) -> None:
        self._bearer = Bearer(channel)

    def verify(self, request: Request, body: bytes | None) -> Verification:  # noqa: ARG002 - was looked at before
        principal = yield LookUpPrincipal()
        if not is_principal(principal):
            raise self._bearer.missing()
        return principal


def verifier_behind_api(channel: Channel, settings: Mapping[str, str], clock: Clock) -> ChannelVerifier:
    """The verifier of a channel behind API Gateway, which lets in by itself what can be let in without the body."""
    if isinstance(channel.auth, Public | Signed):
        return verifier_for(channel, settings, clock)
    return LetIn(channel.name)
