"""Who may come in: what API Gateway asks before it lets a request through to a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.aws.clients import Clients
from headgate.aws.deployed import app_of, channels_of
from headgate.aws.driver import Brought, Driver
from headgate.aws.keys import DynamoKeys, Secrets
from headgate.aws.proxy import Event, request_of
from headgate.aws.settings import Settings
from headgate.aws.telemetry import Metrics, log_as_json
from headgate.aws.wire import Wire
from headgate.clock import Clock
from headgate.declare.auth import Jwt
from headgate.declare.channel import Channel
from headgate.errors import Answerable, Broken, Forbidden, Unauthorized
from headgate.events import Faulted, Refused
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.observe import Observer, site
from headgate.gate.verify import verifier_for
from headgate.http import Request

_NOBODY = "-"


class Turned(Exception):
    """What the function ends with where nobody is let in. API Gateway knows one text, `Unauthorized`, and answers 401;
    any other is a failure, which lets nobody in either."""


class Admission:
    """Made once for each environment of an authorizer."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        settings = Settings.read(environment)
        app = app_of(settings)
        self._channels = channels_of(app, settings)
        facts = {"app": app.name, "stage": settings.stage}
        log_as_json(facts)
        self._environment = environment
        self._clock = clock
        self._clients = Clients(clock, wire=Wire(environment, clock) if settings.keys else None)
        self._secrets = Secrets(settings.secrets, self._clients, clock)
        self._driver = Driver(keys=DynamoKeys(settings.keys, self._clients, clock))
        self._observer = Observer()
        self._metrics = Metrics(self._observer, facts, clock)
        self._verifiers: dict[str, ChannelVerifier] = {}
        self._verifiers_values: Mapping[str, str] = {}
        if settings.secrets:
            self._clients.client("secretsmanager")

    def decide(self, event: Event, remaining_s: float) -> dict[str, Any]:
        """The policy for one sender: Allow, or Deny for one who is known but may not. Raises Turned otherwise."""
        self._clients.within(remaining_s)
        try:
            return self._policy(event)
        finally:
            self._metrics.write()

    def _policy(self, event: Event) -> dict[str, Any]:
        channel = self._asked(event)
        if channel is None:
            raise Turned("this address is none of a channel")
        request = request_of(event, channel, self._clock)
        routes = [route for each in self._reached(channel) for route in routes_of(str(event.get("methodArn")), each)]
        try:
            principal = self._driver.run(self._verifier(channel).verify(request, None), Brought())
        except Unauthorized as error:
            self._refused(channel, request, error)
            raise Turned("Unauthorized") from None
        except Forbidden as error:
            self._refused(channel, request, error)
            return policy(_NOBODY, "Deny", routes, reason=error.reason, message=error.detail)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in
            known = error if isinstance(error, Answerable) else Broken()
            self._observer.told(Faulted(channel.name, known.reason, known.status, request.id, site(error)))
            raise Turned("no decision could be made") from None
        return policy(principal, "Allow", routes)

    def _asked(self, event: Event) -> Channel | None:
        resource = event.get("resource")
        for channel in self._channels:
            one = channel.path.rstrip("/") + "/{key}"
            if resource in (channel.path, one, f"{one}/timeline"):
                return channel
        return None

    def _reached(self, channel: Channel) -> list[Channel]:
        """The channels that a decision is good for. That about a token is kept by API Gateway, and the token is good
        for whatever declares the same; a key is one of a channel, and a function may look at where it is asked."""
        return self._channels if isinstance(channel.auth, Jwt) else [channel]

    def _verifier(self, channel: Channel) -> ChannelVerifier:
        values = self._secrets.values()
        if values != self._verifiers_values:
            self._verifiers, self._verifiers_values = {}, values
        if channel.name not in self._verifiers:
            known = {**self._environment, **values}
            self._verifiers[channel.name] = verifier_for(channel, known, self._clock)
        return self._verifiers[channel.name]

    def _refused(self, channel: Channel, request: Request, error: Unauthorized | Forbidden) -> None:
        self._observer.told(Refused(channel.name, error.reason, error.status, request.id, 1, request.client))


def routes_of(method_arn: str, channel: Channel) -> list[str]:
    """The ARNs of a channel's methods, in the API and the stage of `method_arn`."""
    api = "/".join(method_arn.split("/")[:2])
    routes = [f"{api}/POST{channel.path}"]
    if channel.read:
        below = channel.path.rstrip("/") + "/*"
        routes += [f"{api}/{method}{path}" for method in ("GET", "HEAD") for path in (channel.path, below)]
    return routes


def policy(principal: str, effect: str, routes: list[str], **context: str) -> dict[str, Any]:
    """An authorizer's answer. Templates of gateway responses see `context` as `$context.authorizer.NAME`."""
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": routes}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
