"""The executions that messages of a channel start, in Step Functions; `aws/ended.py` hears of their ends."""

from __future__ import annotations

from collections.abc import Sequence

from headgate import limits
from headgate.aws.clients import Clients
from headgate.aws.executions import Machine, StepFunctions
from headgate.aws.pages import Threads
from headgate.aws.settings import Settings
from headgate.clock import Clock
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.express import addressed
from headgate.declare.task import Start
from headgate.engine import Execution, Executions, Lease
from headgate.errors import Misuse, Unavailable
from headgate.gate.effects import Started
from headgate.gate.finish import ended
from headgate.gate.start import claimed_by, execution_input, execution_name, execution_of, executions_of
from headgate.message import Message

_APART_MS = 5_000


class Starts:
    """Starts them, or finds what was started before. `notes` is the function `ended` where the workflow is Express,
    empty where it is Standard."""

    def __init__(self, channel: Channel, executions: Executions, notes: str, threads: Threads, clock: Clock) -> None:
        self._channel = channel
        self._executions = executions
        self._notes = notes
        self._threads = threads
        self._clock = clock

    def start_all(self, leases: Sequence[Lease]) -> list[Started | None]:
        """See `StartAll`."""
        if self._channel.start is not None and self._channel.start.per_batch:
            return self._start_together(leases)
        return self._threads.in_parallel(self._start, leases)

    def _start_together(self, leases: Sequence[Lease]) -> list[Started | None]:
        try:
            return executions_of(self._executions, self._channel, leases, self._clock.now_ms())
        except Unavailable:
            return [None] * len(leases)

    def _start(self, lease: Lease) -> Started | None:
        try:
            return self._unheard(lease.message) or execution_of(
                self._executions,
                self._channel,
                lease,
                self._clock.now_ms(),
                input_of=self._input,
                express=bool(self._notes),
                apart_ms=_APART_MS,
            )
        except Unavailable:
            return None

    def _input(self, start: Start, message: Message) -> str:
        text = execution_input(start, message)
        return addressed(text, self._notes, *message[:3]) if self._notes else text

    def _unheard(self, message: Message) -> Started | None:
        """An Express execution that was started: it runs, or its time is over and it said nothing."""
        moment = claimed_by(message)
        if not self._notes or moment is None or self._channel.start is None:
            return None
        now_ms = self._clock.now_ms()
        if now_ms - moment.at_ms <= 1000 * limits.EXPRESS_SECONDS.value:
            return Started(moment.detail)
        silent = Execution(
            moment.detail,
            self._channel.start.workflow_name,
            execution_name(self._channel.start, message),
            "TIMED_OUT",
            "",
            None,
            "States.Timeout",
            "Nothing was heard of its end in the time that an Express execution has.",
            moment.at_ms,
            now_ms,
            0,
        )
        return Started(moment.detail, ended(self._channel, silent, now_ms))


def starts_of(
    app: App, channel: Channel, settings: Settings, clients: Clients, threads: Threads, clock: Clock
) -> Starts | None:
    """Those of a function that was told where the workflow is; None where the channel starts none."""
    if channel.start is None:
        return None
    name = channel.start.workflow_name
    express = any(workflow.name == name and workflow.express for workflow in app.workflows)
    if name not in settings.workflows or (express and not settings.ended):
        raise Misuse(f"This function was not told where the workflow {name} is.")
    executions = StepFunctions({name: Machine(settings.workflows[name], express)}, clients, threads)
    return Starts(channel, executions, settings.ended if express else "", threads, clock)
