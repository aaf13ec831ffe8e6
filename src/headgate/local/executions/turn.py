"""One step in the making: copies of what it touches, and what it adds to the history."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

from headgate import limits
from headgate.local.executions.scope import Scope
from headgate.local.executions.state import (
    ROOT,
    Branch,
    Event,
    Fault,
    Invocation,
    Moment,
    Run,
    Step,
    size_bytes,
    text,
)

MOST_BYTES = limits.WORKFLOW_DATA.value
MOST_EVENTS = limits.WORKFLOW_EVENTS.value
_WHOLE = {"truncated": False}


class Turn:
    """What one stimulus does to an execution. Nothing outside is touched until the step is written."""

    def __init__(self, document: Mapping[str, Any], run: Run, branches: Mapping[int, Branch], moment: Moment) -> None:
        self.document = document
        self.run = copy.copy(run)
        self.moment = moment
        self.chance = random.Random(moment.seed)  # noqa: S311
        self._before = branches
        self._changed: dict[int, Branch | None] = {}
        self._events: list[Event] = []
        self._invocations: list[Invocation] = []
        self._ready: list[int] = []
        self._assigned: dict[str, Any] = {}

    def done(self) -> Step:
        return Step(self.run, self._changed, self._events, self._invocations, self._ready)

    # The tree of branches

    def branch(self, id: int) -> Branch:
        """A branch, to be changed freely."""
        if id not in self._changed:
            self._changed[id] = copy.copy(self._before[id])
        found = self._changed[id]
        if found is None:
            raise KeyError(id)
        return found

    def look(self, id: int) -> Branch | None:
        """A branch, not to be changed; None where there is none any more."""
        return self._changed[id] if id in self._changed else self._before.get(id)

    def add(self, branch: Branch) -> None:
        self._changed[branch.id] = branch
        if branch.phase == "ready":
            self._ready.append(branch.id)

    def new_ids(self, count: int) -> int:
        first = self.run.next_branch
        self.run.next_branch += count
        return first

    def children(self, branch: Branch) -> list[Branch]:
        ids = range(branch.first, branch.first + branch.total)
        return [child for id in ids if (child := self.look(id)) is not None]

    def drop_children(self, branch: Branch) -> None:
        for child in self.children(branch):
            self.drop_children(child)
            self._changed[child.id] = None
        branch.first = branch.total = branch.begun = branch.ended = branch.failures = 0

    def go_on(self, branch: Branch) -> None:
        """Let it advance as soon as this step is written."""
        branch.phase, branch.due_ms = "ready", None
        self._ready.append(branch.id)

    def state(self, branch: Branch) -> Mapping[str, Any]:
        """The state it stands in."""
        return state_of(self.document, branch)

    def start_at(self, machine: list[str | int]) -> str:
        found: Any = self.document
        for key in machine:
            found = found[key]
        return str(found["StartAt"])

    # What its fields see

    def is_jsonata(self, state: Mapping[str, Any]) -> bool:
        language = state.get("QueryLanguage") or self.document.get("QueryLanguage", "JSONPath")
        return bool(language == "JSONata")

    def scope(self, branch: Branch, state: Mapping[str, Any], **states: Any) -> Scope:
        return Scope(
            self.context(branch),
            self.variables(branch),
            self.chance,
            jsonata=self.is_jsonata(state),
            states={"input": branch.input, **states},
        )

    def variables(self, branch: Branch) -> dict[str, Any]:
        """Its own, and those of the branches around it. What a DISTRIBUTED Map runs sees none from outside."""
        parent = self.look(branch.parent)
        if parent is None or self.is_distributed(self.state(parent)):
            return branch.variables
        return {**self.variables(parent), **branch.variables}

    @staticmethod
    def is_distributed(state: Mapping[str, Any]) -> bool:
        processor = state.get("ItemProcessor") or state.get("Iterator") or {}
        return bool(processor.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED")

    def context(self, branch: Branch) -> dict[str, Any]:
        """The context object."""
        state: dict[str, Any] = {"EnteredTime": isoformat(branch.entered_ms), "Name": branch.state}
        if state_of(self.document, branch)["Type"] in ("Task", "Map", "Parallel"):
            state["RetryCount"] = branch.retry_count
        found: dict[str, Any] = {"Execution": self._execution, "StateMachine": self._machine, "State": state}
        holder: Branch | None = branch
        while holder is not None and not holder.has_item:
            holder = self.look(holder.parent)
        if holder is not None:
            found["Map"] = {"Item": {"Index": holder.index, "Value": holder.item}}
        return found

    @cached_property
    def _execution(self) -> dict[str, Any]:
        found = {
            "Id": self.run.arn,
            "Input": _input(self.run.input),
            "Name": self.run.name,
            "RoleArn": role_arn(self.run.arn),
            "StartTime": isoformat(self.run.started_ms),
        }
        if self.run.kind == "STANDARD":
            found["RedriveCount"] = self.run.redrives
        if self.run.redriven_ms is not None:
            found["RedriveTime"] = isoformat(self.run.redriven_ms)
        return found

    @cached_property
    def _machine(self) -> dict[str, Any]:
        return {"Id": machine_arn(self.run.arn, self.run.machine), "Name": self.run.machine}

    def context_input(self) -> Any:
        """What the execution was started with."""
        return _input(self.run.input)

    def assign(self, branch: Branch, holder: Mapping[str, Any], scope: Scope, document: Any, where: str = "") -> None:
        """Set the variables of an Assign field; they are seen from the next state on."""
        if "Assign" not in holder:
            return
        values = scope.value(holder["Assign"], f"{where}Assign", document)
        branch.variables = {**branch.variables, **values}
        self._assigned.update(values)

    # The history

    def event(
        self, branch: Branch, type: str, details: tuple[str, Any] | None = None, previous: int | None = None
    ) -> int:
        """Add a line; it follows the branch's last one unless `previous` says otherwise.

        What a DISTRIBUTED Map runs are executions of their own, with numbers of their own, in no history of ours.
        """
        if branch.apart:
            branch.last_event += 1
            return branch.last_event
        id = self.run.next_event
        if id > MOST_EVENTS and not type.startswith("Execution"):
            raise Overlong
        self.run.next_event += 1
        before = branch.last_event if previous is None else previous
        self._events.append(Event(id, before, self.moment.now_ms, type, {details[0]: details[1]} if details else {}))
        branch.last_event = id
        return id

    def entered(self, branch: Branch, state: Mapping[str, Any]) -> None:
        branch.entered_ms = self.moment.now_ms
        details = {"input": text(branch.input), "inputDetails": _WHOLE, "name": branch.state}
        kind = f"{state['Type']}StateEntered"
        branch.entered_event = self.event(branch, kind, ("stateEnteredEventDetails", details))

    def leave(self, branch: Branch, state: Mapping[str, Any], output: Any, target: str | None = None) -> None:
        """Out of the state with this output: to `target`, to Next, or to the end of the machine."""
        if size_bytes(output) > MOST_BYTES:
            raise Fault(
                "States.DataLimitExceeded",
                f"The state/task '{branch.state}' returned a result with a size exceeding the maximum number of bytes "
                "service limit.",
                outside=True,
            )
        details: dict[str, Any] = {"name": branch.state, "output": text(output), "outputDetails": _WHOLE}
        if self._assigned:
            details["assignedVariables"] = {name: text(value) for name, value in self._assigned.items()}
            details["assignedVariablesDetails"] = _WHOLE
            self._assigned = {}
        self.event(branch, f"{state['Type']}StateExited", ("stateExitedEventDetails", details))
        goal = target or state.get("Next")
        if goal is None:
            self.finish(branch, output)
            return
        branch.state, branch.input = goal, output
        branch.entered_event = branch.retry_count = branch.attempt = 0
        branch.retries = []
        self.go_on(branch)

    # Ends

    def finish(self, branch: Branch, output: Any) -> None:
        """The branch has come to its end."""
        branch.phase, branch.due_ms, branch.output = "done", None, output
        if branch.id != ROOT:
            from headgate.local.executions.nested import child_done

            child_done(self, branch)
            return
        self.event(branch, "ExecutionSucceeded", ("executionSucceededEventDetails", _told(output=text(output))))
        self._end("SUCCEEDED")
        self.run.output = text(output)
        self._changed[ROOT] = None

    def fail_whole(self, branch: Branch, error: str | None, cause: str | None) -> None:
        """The root failed, and with it the execution."""
        self.event(branch, "ExecutionFailed", ("executionFailedEventDetails", _given(cause=cause, error=error)))
        self._end("FAILED")
        self.run.error, self.run.cause = error, cause

    def time_out_whole(self) -> None:
        root = self.branch(ROOT)
        self.abort(root)
        self.event(root, "ExecutionTimedOut", ("executionTimedOutEventDetails", {"error": "States.Timeout"}), 0)
        self._end("TIMED_OUT")

    def abort_whole(self, error: str | None, cause: str | None) -> None:
        root = self.branch(ROOT)
        self.abort(root)
        self.event(root, "ExecutionAborted", ("executionAbortedEventDetails", _given(cause=cause, error=error)), 0)
        self._end("ABORTED")
        self.run.error, self.run.cause = error, cause

    def abort(self, branch: Branch) -> None:
        """Whatever it was doing, it does no longer; a redrive may begin here."""
        if branch.phase == "children":
            for child in self.children(branch):
                if child.phase not in ("done", "failed", "queued"):
                    self.abort(self.branch(child.id))
        if branch.entered_event and branch.phase != "queued":
            self.event(branch, f"{self.state(branch)['Type']}StateAborted")
        branch.phase, branch.due_ms, branch.attempt = "failed", None, 0

    def abort_silently(self, branch: Branch) -> None:
        """As `abort`, where the history has no room left to tell."""
        for child in self.children(branch):
            if child.phase not in ("done", "failed", "queued"):
                self.abort_silently(self.branch(child.id))
        branch.phase, branch.due_ms, branch.attempt = "failed", None, 0

    def _end(self, status: Any) -> None:
        self.run.status, self.run.stopped_ms, self.run.deadline_ms = status, self.moment.now_ms, None
        self._ready = []
        if self.run.kind == "EXPRESS":
            self._changed = dict.fromkeys([*self._before, *self._changed])

    def invoke(self, branch: Branch, resource: str, arguments: Any, timeout_ms: int | None) -> None:
        """Ask for something outside; the branch waits for its outcome."""
        branch.phase, branch.attempt = "task", branch.last_event
        branch.asked = [] if arguments is branch.input else [arguments]
        self._invocations.append(invocation(self.run, branch, resource, timeout_ms))


class Overlong(Exception):
    """The history would have more events than Step Functions allows."""


def invocation(run: Run, branch: Branch, resource: str, timeout_ms: int | None) -> Invocation:
    """What the branch waits for the outcome of."""
    token = f"{run.arn}/{branch.id}/{branch.attempt}"
    arguments = branch.asked[0] if branch.asked else branch.input
    return Invocation(run.seq, branch.id, branch.attempt, token, resource, arguments, timeout_ms)


def state_of(document: Mapping[str, Any], branch: Branch) -> Mapping[str, Any]:
    machine: Any = document
    for key in branch.machine:
        machine = machine[key]
    found: Mapping[str, Any] = machine["States"][branch.state]
    return found


def isoformat(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def machine_arn(arn: str, machine: str) -> str:
    region, account = arn.split(":")[3:5]
    return f"arn:aws:states:{region}:{account}:stateMachine:{machine}"


def role_arn(arn: str) -> str:
    return f"arn:aws:iam::{arn.split(':')[4]}:role/headgate"


def started(run: Run) -> tuple[str, Any]:
    """The details of the first event."""
    return "executionStartedEventDetails", {
        "input": run.input,
        "inputDetails": _WHOLE,
        "roleArn": role_arn(run.arn),
    }


def _told(*, output: str) -> dict[str, Any]:
    return {"output": output, "outputDetails": _WHOLE}


def _given(**details: str | None) -> dict[str, Any]:
    return {key: value for key, value in details.items() if value is not None}


@lru_cache(maxsize=64)
def _input(source: str) -> Any:
    return json.loads(source)
