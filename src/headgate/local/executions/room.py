"""The room of executions: one thread takes what comes in, has `step` decide, and writes before anything is done."""

from __future__ import annotations

import json
import logging
import queue
import random
import re
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from headgate import limits
from headgate.clock import Clock
from headgate.engine import Execution, ExecutionPage, Executions, HistoryEvent
from headgate.errors import NotRun, Unavailable
from headgate.gate.observe import site
from headgate.local.executions import store
from headgate.local.executions.schema import open_reading, open_writing
from headgate.local.executions.state import (
    Advance,
    Begin,
    Deadline,
    Due,
    Invocation,
    Kind,
    Moment,
    Outcome,
    Redrive,
    Run,
    Step,
    Stimulus,
    Stop,
    text,
)
from headgate.local.executions.step import step
from headgate.local.executions.timers import Entry, Timers
from headgate.local.executions.turn import MOST_BYTES, invocation, state_of
from headgate.local.upkeep import Upkeep
from headgate.local.writer import Job, Writer

log = logging.getLogger("headgate.local")

_MOST_STEPS = 256  # of one transaction: what has no end of its own lets others in between
_MOST_LIVE = 1000  # executions kept in memory; the others are read back when something happens to them
_DAY_MS = 86_400_000
_RETRY_S = 1.0
_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")


_Reply = TypeVar("_Reply")


class Workflow(NamedTuple):
    """A definition that executions are started of."""

    document: Mapping[str, Any]
    kind: Kind = "STANDARD"


class Performer(Protocol):
    """Who carries out what Task states ask for."""

    def perform(self, invocation: Invocation, done: Callable[[Outcome], None]) -> None:
        """Begin with it and return at once; `done` is called once, on any thread.

        After a crash the same invocation, with the same token, may be asked for again.
        """

    def close(self) -> None:
        """Stop; outcomes that come later are not waited for."""


class _Ask(NamedTuple):
    """What someone wants of an execution, and who is told when that is durable."""

    act: Callable[[], Any]
    reply: Future[Any]


class _Look(NamedTuple):
    """Someone waits for the moment when nothing is left to do: whether this is it."""

    reply: Future[bool]


class _Came(NamedTuple):
    """Something happened to an execution."""

    seq: int
    stimulus: Stimulus


class LocalExecutions(Executions):
    """Keeps executions in a file of their own and drives them. `ended` is told of each end, at least once.

    `most_steps` is how many transitions one transaction may hold.
    """

    def __init__(
        self,
        file: Path,
        workflows: Mapping[str, Workflow],
        performer: Performer,
        clock: Clock,
        *,
        region: str = "local",
        account: str = "000000000000",
        ended: Callable[[Execution], None] | None = None,
        on_broken: Callable[[], None] = lambda: None,
        most_steps: int = _MOST_STEPS,
    ) -> None:
        self._file = file
        self.workflows = dict(workflows)
        self._performer = performer
        self._clock = clock
        self._place = f"{region}:{account}"
        self._ended = ended
        self._most_steps = most_steps
        self._chance = random.SystemRandom()
        self._writer = Writer(open_writing(file), file.parent, after_commit=self._committed, on_broken=on_broken)
        self._reader = open_reading(file)
        self._readers = threading.local()
        self._open_readers: list[sqlite3.Connection] = []
        self._inbox: queue.SimpleQueue[_Ask | _Look | _Came | None] = queue.SimpleQueue()
        self._timers = Timers(clock)
        self._live: OrderedDict[int, store.Loaded] = OrderedDict()
        self._next_seq = store.last_seq(self._reader) + 1
        self._batch = _Batch()
        self._ready: deque[tuple[int, Stimulus]] = deque()
        self._asked: set[tuple[int, int, int]] = set()
        self._closing = False
        self._upkeep: Upkeep | None = None
        self._upkeep = Upkeep(file, self._forget)
        self._resume()
        self._thread = threading.Thread(target=self._work, name="headgate-executions", daemon=True)
        self._thread.start()

    # The contract

    def start(self, workflow: str, name: str | None, input: str) -> Execution:
        return told(self._ask(lambda: self._started(workflow, name, input)))

    def stop(self, id: str, error: str | None = None, cause: str | None = None) -> Execution:
        return told(self._ask(lambda: self._applied(id, Stop(error, cause))))

    def redrive(self, id: str) -> Execution:
        return told(self._ask(lambda: self._redriven(id)))

    def describe(self, id: str) -> Execution | None:
        with self._reading() as connection:
            found = store.find(connection, id)
        return None if found is None else told(found)

    def history(self, id: str, after: int = 0, limit: int = 1000) -> list[HistoryEvent]:
        with self._reading() as connection:
            found = store.find(connection, id)
            lines = [] if found is None else store.events(connection, found.seq, after, limit)
        return [HistoryEvent(*line) for line in lines]

    def find(
        self, workflow: str | None = None, status: str | None = None, limit: int = 100, after: str | None = None
    ) -> ExecutionPage:
        with self._reading() as connection:
            before = None if after is None else int(after)
            found = store.runs(connection, workflow, status, limit + 1, before)
        more = str(found[limit - 1].seq) if len(found) > limit else None
        return ExecutionPage([told(run) for run in found[:limit]], more)

    # What a caller of the local engine may want besides

    def settle(self, timeout_s: float = 10.0) -> None:
        """Return when nothing is left to do but to wait for the clock. Raises TimeoutError when that takes longer."""
        until = time.monotonic() + timeout_s
        while not self._handed_in(_Look(Future())):
            if time.monotonic() > until:
                raise TimeoutError("executions do not settle")
            time.sleep(0.001)

    def close(self) -> None:
        """Stop. What is under way goes on when the file is opened again."""
        if self._closing:
            return
        self._closing = True
        self._inbox.put(None)
        self._thread.join()
        self._performer.close()
        if self._upkeep is not None:
            self._upkeep.close()
        self._writer.close()
        for connection in [self._reader, *self._open_readers]:
            connection.close()

    # On the thread of whoever calls

    def _ask(self, act: Callable[[], _Reply]) -> _Reply:
        return cast(_Reply, self._handed_in(_Ask(act, Future())))

    def _handed_in(self, asked: _Ask | _Look) -> Any:
        if self._closing:
            raise Unavailable(retry_after_s=1)
        self._inbox.put(asked)
        return asked.reply.result()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        connection = getattr(self._readers, "connection", None)
        try:
            if connection is None:
                connection = self._readers.connection = open_reading(self._file)
                self._open_readers.append(connection)
            yield connection
        except sqlite3.Error as error:
            raise Unavailable(retry_after_s=1) from error

    def _came(self, seq: int, outcome: Outcome) -> None:
        self._inbox.put(_Came(seq, outcome))

    # On the room's own thread

    def _work(self) -> None:
        while (arrived := self._arrived()) is not None:
            self._turn_over(arrived)

    def _arrived(self) -> list[_Ask | _Look | _Came] | None:
        """What has come in; waits until there is something to do. None when there will be no more."""
        found: list[_Ask | _Look | _Came | None] = []
        try:
            found.append(self._inbox.get(timeout=0 if self._ready else self._timers.next_s()))
            while len(found) < self._most_steps:
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        arrived = [each for each in found if each is not None]
        if len(arrived) < len(found):
            for each in arrived:
                if isinstance(each, (_Ask, _Look)):
                    each.reply.set_exception(Unavailable(retry_after_s=1))
            return None
        return arrived

    def _turn_over(self, arrived: list[_Ask | _Look | _Came]) -> None:
        """Decide what has come in, write it in one transaction, and only then answer and act."""
        batch = self._batch = _Batch()
        due = self._timers.due()
        ready, self._ready = self._ready, deque()
        waiting = deque(ready)
        replies = [(each.reply, self._answer(each)) for each in arrived if isinstance(each, _Ask)]
        for came in (each for each in arrived if isinstance(each, _Came)):
            self._apply(came.seq, came.stimulus)
        for entry in due:
            self._apply_due(entry)
        waiting.extend(batch.ready)
        batch.ready = waiting
        while batch.ready and batch.steps < self._most_steps:
            self._apply(*batch.ready.popleft())
        try:
            if batch.changes:
                self._writer.change(lambda connection: store.write(connection, batch.changes.values()))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of this batch happened
            self._undo(batch, arrived, due, ready, replies, error)
            return
        self._ready = batch.ready
        for reply, answer in replies:
            _settle(reply, answer)
        self._carry_out(batch)
        for look in (each for each in arrived if isinstance(each, _Look)):
            look.reply.set_result(not self._ready and not self._asked)

    def _answer(self, asked: _Ask) -> Any:
        try:
            return asked.act()
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            return error

    def _undo(
        self,
        batch: _Batch,
        arrived: list[_Ask | _Look | _Came],
        due: list[Entry],
        ready: deque[tuple[int, Stimulus]],
        replies: list[tuple[Future[Any], Any]],
        error: Exception,
    ) -> None:
        """The store did not take it: who asked is told, and what happened will be decided again."""
        for seq in batch.changes:
            self._live.pop(seq, None)
        for reply, answer in replies:
            _settle(reply, answer if isinstance(answer, NotRun) else error)
        for each in arrived:
            if not isinstance(each, _Ask):
                self._inbox.put(each)
        for entry in due:
            self._timers.add(entry, by_wall=False)
        self._ready = ready
        if not isinstance(error, Unavailable):
            log.critical("executions could not be written where=%s", site(error))
        time.sleep(_RETRY_S)

    def _carry_out(self, batch: _Batch) -> None:
        for entry, by_wall in batch.timers:
            self._timers.add(entry, by_wall=by_wall)
        for asked in batch.invocations:
            self._perform(asked)
        for change in batch.changes.values():
            if change.run.status != "RUNNING":
                self._tell(change.run)
        while len(self._live) > _MOST_LIVE:
            self._live.popitem(last=False)

    def _perform(self, asked: Invocation) -> None:
        self._asked.add((asked.seq, asked.branch, asked.attempt))
        self._performer.perform(asked, lambda outcome: self._came(asked.seq, outcome))

    def _tell(self, run: Run) -> None:
        if self._ended is None:
            return
        try:
            self._ended(told(run))
        except Exception as error:  # noqa: BLE001 - it is told again when the store is opened the next time
            log.error("the end of an execution was not passed on where=%s", site(error))
            return
        mark = partial(store.mark_told, seqs=[run.seq])
        self._writer.submit(Job([mark], lambda _: None))

    # Deciding

    def _apply(self, seq: int, stimulus: Stimulus) -> Run | None:
        """Let `step` decide, and keep what it says for the transaction; None where it says nothing."""
        if isinstance(stimulus, Outcome):
            self._asked.discard((seq, stimulus.branch, stimulus.attempt))
        loaded = self._loaded(seq)
        if loaded is None:
            return None
        moment = Moment(self._clock.now_ms(), self._chance.getrandbits(64))
        decided = step(loaded.document, loaded.run, loaded.branches, stimulus, moment)
        if decided is None:
            return None
        self._batch.steps += 1
        self._live[seq] = loaded._replace(run=decided.run)
        for id, branch in decided.branches.items():
            if branch is None:
                loaded.branches.pop(id, None)
            else:
                loaded.branches[id] = branch
        self._batch.add(seq, decided)
        return decided.run

    def _apply_due(self, entry: Entry) -> None:
        loaded = self._loaded(entry.seq)
        if loaded is None:
            return
        if entry.branch is None:
            if loaded.run.deadline_ms == entry.due_ms:
                self._apply(entry.seq, Deadline())
            return
        branch = loaded.branches.get(entry.branch)
        if branch is not None and branch.due_ms == entry.due_ms:
            self._apply(entry.seq, Due(entry.branch))

    def _loaded(self, seq: int) -> store.Loaded | None:
        if seq in self._live:
            self._live.move_to_end(seq)
            return self._live[seq]
        loaded = store.load(self._reader, seq)
        if loaded is not None:
            self._live[seq] = loaded
        return loaded

    def _found(self, id: str) -> Run:
        for change in self._batch.changes.values():
            if change.run.arn == id:
                return change.run
        found = store.find(self._reader, id)
        if found is None:
            raise NotRun("ExecutionDoesNotExist", f"There is no execution {id}.")
        return found

    def _started(self, workflow: str, name: str | None, input: str) -> Run:
        known = self.workflows.get(workflow)
        if known is None:
            raise NotRun("StateMachineDoesNotExist", f"There is no workflow {workflow}.")
        name = str(uuid.uuid4()) if name is None else name
        given = _checked(name, input)
        arn = f"arn:aws:states:{self._place}:execution:{workflow}:{name}"
        if known.kind == "EXPRESS":
            arn = f"arn:aws:states:{self._place}:express:{workflow}:{name}:{uuid.uuid4()}"
        try:
            twin = self._found(arn)
        except NotRun:
            return self._begun(workflow, known, arn, name, input)
        if twin.status == "RUNNING" and _same(json.loads(twin.input), given):
            return twin
        raise NotRun("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")

    def _begun(self, workflow: str, known: Workflow, arn: str, name: str, input: str) -> Run:
        now_ms = self._clock.now_ms()
        run = Run(self._next_seq, arn, workflow, name, known.kind, input, now_ms)
        most_s = known.document.get("TimeoutSeconds", limits.EXPRESS_SECONDS.value if known.kind == "EXPRESS" else None)
        run.deadline_ms = None if most_s is None else now_ms + most_s * 1000
        self._next_seq += 1
        self._live[run.seq] = store.Loaded(run, known.document, {})
        self._batch.add_new(run, text(known.document))
        begun = self._apply(run.seq, Begin())
        return run if begun is None else begun

    def _applied(self, id: str, stimulus: Stimulus) -> Run:
        found = self._found(id)
        return self._apply(found.seq, stimulus) or found

    def _redriven(self, id: str) -> Run:
        found = self._found(id)
        if found.kind == "EXPRESS":
            raise NotRun("ExecutionNotRedrivable", "An Express execution cannot be redriven; start it anew.")
        if found.status in ("RUNNING", "SUCCEEDED"):
            raise NotRun("ExecutionNotRedrivable", f"The execution is {found.status}: there is nothing to redrive.")
        if self._clock.now_ms() - (found.stopped_ms or 0) > limits.WORKFLOW_REDRIVE.value * _DAY_MS:
            raise NotRun("ExecutionNotRedrivable", "The execution ended more than 14 days ago; start it anew.")
        return self._applied(id, Redrive())

    # When the file is opened, and now and then

    def _resume(self) -> None:
        """Take up everything that was under way when the last process ended."""
        for seq, id, phase, due_ms in store.under_way(self._reader):
            if phase == "ready":
                self._ready.append((seq, Advance(id)))
            elif due_ms is not None:
                loaded = self._loaded(seq)
                by_wall = loaded is not None and loaded.branches[id].by_wall
                self._timers.add(Entry(seq, id, due_ms), by_wall=by_wall)
            if phase == "task":
                self._ask_again(seq, id)
        for seq, deadline_ms in store.deadlines(self._reader):
            self._timers.add(Entry(seq, None, deadline_ms), by_wall=False)
        if self._ended is not None:
            for seq in store.untold(self._reader):
                if (loaded := self._loaded(seq)) is not None:
                    self._tell(loaded.run)

    def _ask_again(self, seq: int, id: int) -> None:
        loaded = self._loaded(seq)
        if loaded is not None:
            branch = loaded.branches[id]
            left_ms = None if branch.due_ms is None else max(branch.due_ms - self._clock.now_ms(), 0)
            self._perform(invocation(loaded.run, branch, state_of(loaded.document, branch)["Resource"], left_ms))

    def _forget(self) -> int:
        before_ms = self._clock.now_ms() - limits.WORKFLOW_KEPT.value * _DAY_MS
        return int(self._writer.change(lambda connection: store.forget(connection, before_ms)))

    def _committed(self, done: bool) -> None:
        if done and self._upkeep is not None:
            self._upkeep.touched()


class _Batch:
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
        if run.deadline_ms is not None:
            self.timers.append((Entry(run.seq, None, run.deadline_ms), False))

    def add(self, seq: int, decided: Step) -> None:
        change = self.changes.setdefault(seq, store.Change(decided.run))
        change.run = decided.run
        change.branches.update(decided.branches)
        change.events += decided.events
        self.invocations += decided.invocations
        self.ready.extend((seq, Advance(id)) for id in decided.ready)
        for id, branch in decided.branches.items():
            if branch is not None and branch.due_ms is not None:
                self.timers.append((Entry(seq, id, branch.due_ms), branch.by_wall))


def _checked(name: str, input: str) -> Any:
    """The input as JSON. Raises NotRun for a name or an input that Step Functions would not take."""
    if not _NAME.fullmatch(name):
        raise NotRun("InvalidName", f"Invalid Name: '{name}'")
    if len(input.encode()) > MOST_BYTES:
        raise NotRun("InvalidExecutionInput", f"The input is larger than {MOST_BYTES} bytes.")
    try:
        return json.loads(input, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotRun("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'") from None


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # `==` takes true for 1


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _settle(reply: Future[Any], answer: Any) -> None:
    if isinstance(answer, BaseException):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)


def told(run: Run) -> Execution:
    """A run as the contract has it."""
    return Execution(
        run.arn,
        run.machine,
        run.name,
        run.status,
        run.input,
        run.output,
        run.error,
        run.cause,
        run.started_ms,
        run.stopped_ms,
        run.redrives,
    )
