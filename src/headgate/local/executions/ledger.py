"""What is under way, as the room's thread knows it, and what the next transaction will hold. It writes nothing."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from headgate import limits
from headgate.clock import Clock
from headgate.errors import NotRun
from headgate.gate.given import given_of, is_same
from headgate.local.executions import store
from headgate.local.executions.state import (
    ROOT,
    Advance,
    Begin,
    Deadline,
    Due,
    Invocation,
    Kind,
    Moment,
    Redrive,
    Run,
    Step,
    Stimulus,
    text,
)
from headgate.local.executions.step import given_up, step
from headgate.local.executions.timers import Entry

_MOST_LIVE = 1000  # executions kept in memory; the others are read back when something happens to them
_DAY_MS = 86_400_000


class Workflow(NamedTuple):
    """A definition that executions are started of."""

    document: Mapping[str, Any]
    kind: Kind = "STANDARD"


class Batch:
    """What one transaction will hold, and what is to be done once it is written."""

    def __init__(self) -> None:
        self.steps = 0
        self.changes: dict[int, store.Change] = {}
        self.ready: deque[tuple[int, Stimulus]] = deque()
        self.invocations: list[Invocation] = []
        self.timers: list[tuple[Entry, bool]] = []

    def add_new(self, run: Run, document: str) -> None:
        self.changes[run.seq] = store.Change(run)
        self.changes[run.seq].new_document = document
        self.add_deadline(run)

    def add_deadline(self, run: Run) -> None:
        if run.deadline_ms is not None:
            self.timers.append((Entry(run.seq, None, run.deadline_ms), False))

    def add(self, seq: int, decided: Step) -> None:
        change = self.changes.setdefault(seq, store.Change(decided.run))
        change.run = decided.run
        change.branches.update(decided.branches)
        change.events += decided.events
        self.steps += 1
        self.invocations += decided.invocations
        self.ready.extend((seq, Advance(id)) for id in decided.ready)
        for id, branch in decided.branches.items():
            if branch is not None and branch.due_ms is not None:
                self.timers.append((Entry(seq, id, branch.due_ms), branch.by_wall))


class Ledger:
    """For one thread. What it decided counts once its batch is written; `undo` drops it."""

    def __init__(self, reader: sqlite3.Connection, workflows: Mapping[str, Workflow], clock: Clock, place: str) -> None:
        self._reader = reader
        self._workflows = workflows
        self._clock = clock
        self._place = place
        self._chance = random.SystemRandom()
        self._live: OrderedDict[int, store.Loaded] = OrderedDict()
        self._next_seq = store.last_seq(reader) + 1
        self.batch = Batch()

    def begin_batch(self) -> Batch:
        self.batch = Batch()
        while len(self._live) > _MOST_LIVE:
            self._live.popitem(last=False)
        return self.batch

    def undo(self) -> None:
        """The batch was not written: what it changed is read from the store again."""
        for seq in self.batch.changes:
            self._live.pop(seq, None)

    def loaded(self, seq: int) -> store.Loaded | None:
        if seq in self._live:
            self._live.move_to_end(seq)
            return self._live[seq]
        loaded = store.load(self._reader, seq)
        if loaded is not None:
            self._live[seq] = loaded
        return loaded

    def apply(self, seq: int, stimulus: Stimulus) -> Run | None:
        """Let `step` decide, and keep what it says for the transaction; None where it says nothing."""
        loaded = self.loaded(seq)
        if loaded is None:
            return None
        decided = step(loaded.document, loaded.run, loaded.branches, stimulus, self._moment())
        return None if decided is None else self._kept(loaded, decided)

    def give_up(self, seq: int) -> None:
        """End an execution whose changes cannot be written, so that the others can be."""
        loaded = self.loaded(seq)
        if loaded is not None:
            self._kept(loaded, given_up(loaded.document, loaded.run, loaded.branches, self._moment()))

    def apply_due(self, entry: Entry) -> None:
        loaded = self.loaded(entry.seq)
        if loaded is None:
            return
        if entry.branch is None:
            if loaded.run.deadline_ms == entry.due_ms:
                self.apply(entry.seq, Deadline())
            return
        branch = loaded.branches.get(entry.branch)
        if branch is not None and branch.due_ms == entry.due_ms:
            self.apply(entry.seq, Due(entry.branch))

    def start(self, workflow: str, name: str | None, input: str) -> Run:
        known = self._workflows.get(workflow)
        if known is None:
            raise NotRun("StateMachineDoesNotExist", f"There is no workflow {workflow}.")
        name = str(uuid.uuid4()) if name is None else name
        given = given_of(name, input)
        arn = self.arn(workflow, name)
        if known.kind == "EXPRESS":
            arn = f"arn:aws:states:{self._place}:express:{workflow}:{name}:{uuid.uuid4()}"
        twin = self._find(arn)
        if twin is None:
            return self._begun(workflow, known, arn, name, input)
        if twin.status == "RUNNING" and is_same(json.loads(twin.input), given):
            return twin
        raise NotRun("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")

    def arn(self, workflow: str, name: str) -> str:
        """That of a Standard execution."""
        return f"arn:aws:states:{self._place}:execution:{workflow}:{name}"

    def applied(self, id: str, stimulus: Stimulus) -> Run:
        """What became of the execution with this ARN. Raises NotRun where there is none."""
        found = self._known(id)
        return self.apply(found.seq, stimulus) or found

    def redrive(self, id: str) -> Run:
        found = self._known(id)
        if found.kind == "EXPRESS":
            raise NotRun("ExecutionNotRedrivable", "An Express execution cannot be redriven; start it anew.")
        if found.status in ("RUNNING", "SUCCEEDED"):
            raise NotRun("ExecutionNotRedrivable", f"The execution is {found.status}: there is nothing to redrive.")
        if self._clock.now_ms() - (found.stopped_ms or 0) > limits.WORKFLOW_REDRIVE.value * _DAY_MS:
            days = limits.WORKFLOW_REDRIVE.value
            raise NotRun("ExecutionNotRedrivable", f"The execution ended more than {days} days ago; start it anew.")
        loaded = self.loaded(found.seq)
        if loaded is None or ROOT not in loaded.branches:
            raise NotRun("ExecutionNotRedrivable", "The execution never began; start it anew.")
        run = self.applied(id, Redrive())
        self.batch.add_deadline(run)
        return run

    def _begun(self, workflow: str, known: Workflow, arn: str, name: str, input: str) -> Run:
        now_ms = self._clock.now_ms()
        run = Run(self._next_seq, arn, workflow, name, known.kind, input, now_ms)
        most_s = known.document.get("TimeoutSeconds")
        if known.kind == "EXPRESS":
            most_s = min(most_s or limits.EXPRESS_SECONDS.value, limits.EXPRESS_SECONDS.value)
        run.deadline_ms = None if most_s is None else now_ms + most_s * 1000
        self._next_seq += 1
        self._live[run.seq] = store.Loaded(run, known.document, {})
        self.batch.add_new(run, text(known.document))
        return self.apply(run.seq, Begin()) or run

    def _kept(self, loaded: store.Loaded, decided: Step) -> Run:
        seq = decided.run.seq
        self._live[seq] = loaded._replace(run=decided.run)
        for id, branch in decided.branches.items():
            if branch is None:
                loaded.branches.pop(id, None)
            else:
                loaded.branches[id] = branch
        self.batch.add(seq, decided)
        return decided.run

    def _known(self, id: str) -> Run:
        found = self._find(id)
        if found is None:
            raise NotRun("ExecutionDoesNotExist", f"There is no execution {id}.")
        return found

    def _find(self, id: str) -> Run | None:
        for change in self.batch.changes.values():
            if change.run.arn == id:
                return change.run
        return store.find(self._reader, id)

    def _moment(self) -> Moment:
        return Moment(self._clock.now_ms(), self._chance.getrandbits(64))
