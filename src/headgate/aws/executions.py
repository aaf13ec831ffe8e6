"""Executions in Step Functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple
from uuid import uuid4

from headgate.aws.clients import NOT_RUN, Clients, Declined
from headgate.aws.pages import Threads
from headgate.engine import Execution, ExecutionPage, Executions, HistoryEvent
from headgate.errors import NotRun, Unavailable
from headgate.gate.given import given_of, is_name
from headgate.http import RETRY_AFTER_S

_AT_ONCE = 1000  # the most that Step Functions lists or tells in one answer
_STATUSES = {"RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}
_META = ("timestamp", "type", "id", "previousEventId")


class Machine(NamedTuple):
    """The state machine of a workflow."""

    arn: str
    express: bool = False


class StepFunctions(Executions):
    """`machines` are those of the workflows, by their names in the app.

    Step Functions tells nothing of an Express execution but that it was started. `find` leaves inputs and outputs out.
    """

    def __init__(self, machines: Mapping[str, Machine], clients: Clients, threads: Threads) -> None:
        self._machines = machines
        self._names = {_machine_name(machine.arn): name for name, machine in machines.items()}
        self._clients = clients
        self._threads = threads

    # ------------------------------------------------------------------------------------------------ the contract

    def start(self, workflow: str, name: str | None, input: str) -> Execution:
        machine = self._machines.get(workflow)
        if machine is None:
            raise NotRun("StateMachineDoesNotExist", f"There is no workflow {workflow}.")
        name = str(uuid4()) if name is None else name
        given_of(name, input)
        told = self._call("start_execution", stateMachineArn=machine.arn, name=name, input=input)
        return Execution(
            told["executionArn"], workflow, name, "RUNNING", input, None, None, None, _ms(told["startDate"]), None, 0
        )

    def describe(self, id: str) -> Execution | None:
        if not self._is_ours(id):
            return None
        try:
            told = self._call("describe_execution", executionArn=id)
        except NotRun:
            return None
        return self._told(told)

    def named(self, workflow: str, name: str) -> Execution | None:
        machine = self._machines.get(workflow)
        if machine is None or machine.express:
            return None
        return self.describe(f"{machine.arn.replace(':stateMachine:', ':execution:')}:{name}")

    def history(self, id: str, after: int = 0, limit: int = 1000) -> list[HistoryEvent]:
        if not self._is_ours(id):
            return []
        found: list[HistoryEvent] = []
        following: dict[str, Any] = {}
        while len(found) < limit:
            page = self._call("get_execution_history", executionArn=id, maxResults=_AT_ONCE, **following)
            found += [_event(event) for event in page["events"] if event["id"] > after]
            if not page.get("nextToken"):
                break
            following = {"nextToken": page["nextToken"]}
        return found[:limit]

    def stop(self, id: str, error: str | None = None, cause: str | None = None) -> Execution:
        found = self._known(id)
        if found.status != "RUNNING":
            return found
        said = {name: text for name, text in (("error", error), ("cause", cause)) if text is not None}
        self._call("stop_execution", executionArn=id, **said)
        return self._known(id)

    def redrive(self, id: str) -> Execution:
        if ":express:" in id:
            raise NotRun("ExecutionNotRedrivable", "An Express execution cannot be redriven; start it anew.")
        found = self._known(id)
        if found.status in ("RUNNING", "SUCCEEDED"):
            raise NotRun("ExecutionNotRedrivable", f"The execution is {found.status}: there is nothing to redrive.")
        self._call("redrive_execution", executionArn=id)
        return self._known(id)

    def find(
        self, workflow: str | None = None, status: str | None = None, limit: int = 100, after: str | None = None
    ) -> ExecutionPage:
        asked = [name for name, it in self._machines.items() if not it.express and workflow in (None, name)]
        places = {name: _Place() for name in asked} if after is None else self._places(after)
        listed = self._threads.in_parallel(lambda name: self._listed(name, places[name], status, limit), [*places])
        in_order = merge(*(page.executions for page in listed), key=lambda one: -one.started_ms)
        merged = [*islice(in_order, limit)]
        taken = {name: sum(one.workflow == name for one in merged) for name in places}
        left = {
            name: place
            for (name, was), page in zip(places.items(), listed, strict=True)
            if (place := _behind(was, page, taken[name])) is not None
        }
        return ExecutionPage(merged, json.dumps(left, separators=(",", ":")) if left else None)

    # ----------------------------------------------------------------------------------------- for the command line

    def called(self, name: str) -> list[Execution]:
        """The execution with that ARN; else those of that name, of any workflow."""
        if name.startswith("arn:"):
            found = [self.describe(name)]
        else:
            found = self._threads.in_parallel(lambda workflow: self._called(workflow, name), [*self._machines])
        return [one for one in found if one is not None]

    def document(self, id: str) -> dict[str, Any]:
        """The definition that an execution was started with."""
        told = self._call("describe_state_machine_for_execution", executionArn=id)
        return json.loads(told["definition"])  # type: ignore[no-any-return]

    # ---------------------------------------------------------------------------------------------------------- inside

    def _is_ours(self, id: str) -> bool:
        """Whether this can be the ARN of an execution of one of the workflows, and of one that can be asked for."""
        kind, _, rest = id.partition(":execution:")
        return kind.startswith("arn:") and rest.partition(":")[0] in self._names

    def _called(self, workflow: str, name: str) -> Execution | None:
        return self.named(workflow, name) if is_name(name) else None

    def _known(self, id: str) -> Execution:
        found = self.describe(id)
        if found is None:
            raise NotRun("ExecutionDoesNotExist", f"There is no execution {id}.")
        return found

    def _listed(self, name: str, place: _Place, status: str | None, limit: int) -> _Listed:
        asked: dict[str, Any] = {"stateMachineArn": self._machines[name].arn}
        if status in _STATUSES:
            asked["statusFilter"] = status
        if place.token:
            asked["nextToken"] = place.token
        page = self._call("list_executions", maxResults=min(limit + place.passed, _AT_ONCE), **asked)
        return _Listed([self._told(one) for one in page["executions"]][place.passed :], page.get("nextToken"))

    def _places(self, cursor: str) -> dict[str, _Place]:
        try:
            found = {name: _Place(*place) for name, place in json.loads(cursor).items()}
        except (ValueError, TypeError, AttributeError):
            raise ValueError("no cursor of ours") from None
        if not found.keys() <= self._machines.keys():
            raise ValueError("no cursor of ours")
        return found

    def _told(self, told: Mapping[str, Any]) -> Execution:
        stopped = told.get("stopDate")
        return Execution(
            told["executionArn"],
            self._names[_machine_name(told["stateMachineArn"])],
            told["name"],
            told["status"],
            told.get("input", ""),
            told.get("output") if told["status"] == "SUCCEEDED" else None,
            told.get("error"),
            told.get("cause"),
            _ms(told["startDate"]),
            None if stopped is None else _ms(stopped),
            told.get("redriveCount", 0),
        )

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("stepfunctions", operation, **parameters)
        except Declined as declined:
            if declined.code in NOT_RUN:
                message = declined.answer.get("Error", {}).get("Message") or declined.code
                raise NotRun(declined.code, str(message)) from None
            if declined.code == "InvalidToken":
                raise ValueError("no cursor of ours, or an old one") from None
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None


class _Place(NamedTuple):
    """Where a list goes on: on the page that `token` leads to, behind the first `passed` of it."""

    token: str | None = None
    passed: int = 0


class _Listed(NamedTuple):
    executions: list[Execution]
    next: str | None


def _behind(was: _Place, page: _Listed, taken: int) -> _Place | None:
    """Where the list of a workflow goes on; None where it is over."""
    if taken < len(page.executions):
        return _Place(was.token, was.passed + taken)
    return None if page.next is None else _Place(page.next)


def _event(event: Mapping[str, Any]) -> HistoryEvent:
    details = {name: value for name, value in event.items() if name not in _META}
    return HistoryEvent(event["id"], event.get("previousEventId", 0), _ms(event["timestamp"]), event["type"], details)


def _machine_name(arn: str) -> str:
    return arn.split(":")[6]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
