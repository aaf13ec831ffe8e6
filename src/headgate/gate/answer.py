"""The way through the gate: find the channel, let it decide, shape the reply."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.errors import Answerable, Broken, Fault, MethodNotAllowed, NotFound
from headgate.events import Faulted, Refused
from headgate.gate.accept import accept
from headgate.gate.effects import Effect
from headgate.gate.observe import Observer, contained, site
from headgate.gate.plan import Plan, VerifierFor, plan_for
from headgate.gate.query import read_many, read_one, read_timeline
from headgate.gate.verify import verifier_for
from headgate.http import Problem, Reply, Request

Steps = Generator[Effect, Any, Reply]
Read = Callable[[Plan, Request, str], Steps]

_TIMELINE = "timeline"
EXPOSED = "Idempotency-Replayed, Retry-After, X-Request-Id"
"""The headers that a web page of an allowed origin may read."""


class Gate:
    """An app made ready. Holds no state but its plans; one Gate may answer any number of requests at once.

    `settings` resolves the app's Secret and Env names. Raises Misuse where one of them cannot be used.
    """

    def __init__(
        self,
        app: App,
        settings: Mapping[str, str],
        clock: Clock,
        observer: Observer,
        new_id: Callable[[], str],
        verifier: VerifierFor = verifier_for,
    ) -> None:
        self.observer = observer
        self._plans = {channel.path: plan_for(channel, settings, clock, new_id, verifier) for channel in app.channels}

    def plan_of(self, channel: Channel) -> Plan:
        """What was worked out for a channel of the app."""
        return self._plans[channel.path]

    def answer(self, request: Request) -> Steps:
        """Answer a request. Every error becomes a reply; nothing of its text but what `errors` holds gets out."""
        plan, key, read = self._route(request.path)
        channel = None if plan is None else plan.channel
        try:
            if plan is None:
                raise NotFound
            reply = yield from self._decide(plan, key, read, request)
        except Answerable as error:
            reply = self._refuse(error, channel, request, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the last border: a sender never sees an exception
            reply = self._refuse(Broken(), channel, request, error)
        if channel is not None and channel.cors is not None:
            reply = reply.with_headers(*_cors_headers(channel, request))
        return reply.with_headers(("X-Request-Id", request.id))

    def _route(self, path: str) -> tuple[Plan | None, str | None, Read]:
        """Whose path it is, the key in it, and what reads the message."""
        plan = self._plans.get(path)
        if plan is not None:
            return plan, None, read_one
        parent, _, key = path.rpartition("/")
        plan, read = self._plans.get(parent or "/"), read_one
        if plan is None and key == _TIMELINE:
            parent, _, key = parent.rpartition("/")
            plan, read = self._plans.get(parent or "/"), read_timeline
        if plan is None or not key or not plan.channel.read:
            return None, None, read
        return plan, key, read

    def _decide(self, plan: Plan, key: str | None, read: Read, request: Request) -> Steps:
        channel = plan.channel
        match request.method:
            case "POST" if key is None:
                return (yield from accept(plan, request, self.observer))
            case "GET" | "HEAD" if key is not None:
                return (yield from read(plan, request, key))
            case "GET" | "HEAD" if channel.read and channel.indexes:
                return (yield from read_many(plan, request))
            case "OPTIONS" if channel.cors is not None:
                return Reply(204, headers=(("Allow", _allowed(channel, key)),))
            case _:
                raise MethodNotAllowed(headers=(("Allow", _allowed(channel, key)),))

    def _refuse(self, error: Answerable, channel: Channel | None, request: Request, cause: BaseException) -> Reply:
        name = "" if channel is None else channel.name
        if isinstance(error, Fault):
            self.observer.told(Faulted(name, error.reason, error.status, request.id, site(cause)))
        else:
            self.observer.told(Refused(name, error.reason, error.status, request.id, 1, request.client))
        problem = Problem.of(error, request.id)
        if channel is None or channel.problem is None:
            return problem.reply()
        try:
            with contained():
                shaped = channel.problem(problem)
            reply = (shaped if isinstance(shaped, Reply) else Reply(problem.status, shaped)).checked()
        except Exception as failure:  # noqa: BLE001 - the user's function failed: the plain problem still tells the sender
            self.observer.shaping_failed(name, "problem=", request.id, failure)
            return problem.reply()
        return reply.with_headers(*problem.headers)


def _allowed(channel: Channel, key: str | None) -> str:
    reads = key is not None or (channel.read and channel.indexes)
    methods = [*(["GET", "HEAD"] if reads else []), *(["POST"] if key is None else [])]
    return ", ".join([*methods, "OPTIONS"] if channel.cors is not None else methods)


def _cors_headers(channel: Channel, request: Request) -> tuple[tuple[str, str], ...]:
    cors = channel.cors
    origin = request.header(b"origin")
    if cors is None or origin is None or not ("*" in cors.origins or origin in cors.origins):
        return (("Vary", "Origin"),)
    shared = (("Vary", "Origin"), ("Access-Control-Allow-Origin", "*" if "*" in cors.origins else origin))
    if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
        return (
            *shared,
            ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
            ("Access-Control-Allow-Headers", ", ".join(cors.headers)),
            ("Access-Control-Max-Age", str(cors.max_age_s)),
        )
    return (*shared, ("Access-Control-Expose-Headers", EXPOSED))
