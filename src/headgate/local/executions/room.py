"""The room of executions: one thread takes what comes in, has it decided, and writes before anything is done."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from headgate import limits
from headgate.clock import Clock
from headgate.engine import Execution, ExecutionPage, Executions, HistoryEvent
from headgate.errors import NotRun, Unavailable
from headgate.gate.observe import site
from headgate.local.executions import store
from headgate.local.executions.ledger import Batch, Ledger, Workflow
from headgate.local.executions.schema import open_reading, open_writing
from headgate.local.executions.state import Advance, Invocation, Outcome, Run, Stimulus, Stop
from headgate.local.executions.timers import Entry, Timers
from headgate.local.executions.turn import invocation, state_of
from headgate.local.readers import Readers
from headgate.local.upkeep import Upkeep
from headgate.local.writer import Job, Writer

log = logging.getLogger("headgate.local")

_MOST_STEPS = 256  # of one transaction: what has no end of its own lets others in between
_RETRY_S = 1.0
_LOOK_EVERY_S = 1.0
_DAY_MS = 86_400_000

_Reply = TypeVar("_Reply")


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
    """What was asked for outside has an outcome."""

    seq: int
    outcome: Outcome


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
        self._ended = ended
        self._most_steps = most_steps
        self._writer = Writer(open_writing(file), file.parent, after_commit=self._committed, on_broken=on_broken)
        self._reader = open_reading(file)
        self._readers = Readers(lambda: open_reading(file))
        self._inbox: queue.SimpleQueue[_Ask | _Look | _Came | None] = queue.SimpleQueue()
        self._timers = Timers(clock)
        self._ledger = Ledger(self._reader, self.workflows, clock, f"{region}:{account}")
        self._ready: deque[tuple[int, Stimulus]] = deque()
        self._asked: set[tuple[int, int, int]] = set()
        self._alone = 0
        self._on_broken = on_broken
        self._closing = self._closed = False
        self._upkeep: Upkeep | None = None
        self._upkeep = Upkeep(file, self._forget)
        self._resume()
        self._thread = threading.Thread(target=self._work, name="headgate-executions", daemon=True)
        self._thread.start()

    # The contract

    def start(self, workflow: str, name: str | None, input: str) -> Execution:
        return told(self._ask(lambda: self._ledger.start(workflow, name, input)))

    def stop(self, id: str, error: str | None = None, cause: str | None = None) -> Execution:
        return told(self._ask(lambda: self._ledger.applied(id, Stop(error, cause))))

    def redrive(self, id: str) -> Execution:
        return told(self._ask(lambda: self._ledger.redrive(id)))

    def describe(self, id: str) -> Execution | None:
        found = self._readers.read_with(lambda reader: store.find(reader, id))
        return None if found is None else told(found)

    def named(self, workflow: str, name: str) -> Execution | None:
        return self.describe(self._ledger.arn(workflow, name))

    def history(self, id: str, after: int = 0, limit: int = 1000) -> list[HistoryEvent]:
        lines = self._readers.read_with(lambda reader: store.events(reader, id, after, limit))
        return [HistoryEvent(*line) for line in lines]

    def find(
        self, workflow: str | None = None, status: str | None = None, limit: int = 100, after: str | None = None
    ) -> ExecutionPage:
        before = None if after is None else int(after)
        found = self._readers.read_with(lambda reader: store.runs(reader, workflow, status, limit + 1, before))
        more = str(found[limit - 1].seq) if len(found) > limit else None
        return ExecutionPage([told(run) for run in found[:limit]], more)

    # What a caller of the local engine may want besides

    def settle(self, timeout_s: float = 60.0) -> None:
        """Return when nothing is left to do but to wait for the clock. Raises TimeoutError when that takes longer."""
        until = time.monotonic() + timeout_s
        while not self._handed_in(_Look(Future())):
            if time.monotonic() > until:
                raise TimeoutError("executions do not settle")
            time.sleep(0.001)

    def close(self) -> None:
        """Stop. What is under way goes on when the file is opened again."""
        if self._closed:
            return
        self._closing = self._closed = True
        self._inbox.put(None)
        self._thread.join()
        self._turn_away()
        self._performer.close()
        if self._upkeep is not None:
            self._upkeep.close()
        self._writer.close()
        self._reader.close()
        self._readers.close()

    # On the thread of whoever calls

    def _ask(self, act: Callable[[], _Reply]) -> _Reply:
        return cast(_Reply, self._handed_in(_Ask(act, Future())))

    def _handed_in(self, asked: _Ask | _Look) -> Any:
        if self._closing:
            raise Unavailable(retry_after_s=1)
        self._inbox.put(asked)
        while True:
            try:
                return asked.reply.result(timeout=_LOOK_EVERY_S)
            except FutureTimeout:
                if not self._thread.is_alive():  # it ended between our look and our asking
                    raise Unavailable(retry_after_s=1) from None

    # On the room's own thread

    def _work(self) -> None:
        try:
            while (arrived := self._arrived()) is not None:
                self._turn_over(arrived)
        except Exception as error:  # noqa: BLE001 - a mistake of ours; the process has to start anew
            log.critical("executions no longer go on where=%s", site(error))
            self._closing = True
            self._turn_away()
            self._on_broken()

    def _arrived(self) -> list[_Ask | _Look | _Came] | None:
        """What has come in; waits until there is something to do. None when there will be no more."""
        found: list[_Ask | _Look | _Came | None] = []
        try:
            found.append(self._inbox.get(timeout=0 if self._ready else self._timers.next_s()))
            while len(found) < self._most():
                found.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        if None in found:
            for each in found:
                self._inbox.put(each)
            return None
        return [each for each in found if each is not None]

    def _turn_away(self) -> None:
        """Nobody will answer any more: who waits is told."""
        with suppress(queue.Empty):
            while True:
                asked = self._inbox.get_nowait()
                if isinstance(asked, (_Ask, _Look)):
                    asked.reply.set_exception(Unavailable(retry_after_s=1))

    def _most(self) -> int:
        """How much may be in one transaction; one thing only, while it is being found out which cannot be written."""
        if not self._alone:
            return self._most_steps
        self._alone -= 1
        return 1

    def _turn_over(self, arrived: list[_Ask | _Look | _Came]) -> None:
        """Decide what has come in, write it in one transaction, and only then answer and act."""
        batch = self._ledger.begin_batch()
        before, most = self._ready, self._most()
        due = self._timers.due()
        if most == 1:
            for entry in due[0 if arrived else 1 :]:
                self._timers.add(entry, by_wall=False)
            due = due[: 0 if arrived else 1]
        waiting = deque(before)
        replies = [(each.reply, self._answer(each)) for each in arrived if isinstance(each, _Ask)]
        for came in (each for each in arrived if isinstance(each, _Came)):
            self._asked.discard((came.seq, came.outcome.branch, came.outcome.attempt))
            self._ledger.apply(came.seq, came.outcome)
        for entry in due:
            self._ledger.apply_due(entry)
        waiting.extend(batch.ready)
        batch.ready = waiting
        while batch.ready and batch.steps < most:
            self._ledger.apply(*batch.ready.popleft())
        try:
            if batch.changes:
                self._writer.change(lambda connection: store.write(connection, batch.changes.values()))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of this batch happened
            self._ready = before
            self._undo(batch, arrived, due, replies, error)
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
        batch: Batch,
        arrived: list[_Ask | _Look | _Came],
        due: list[Entry],
        replies: list[tuple[Future[Any], Any]],
        error: Exception,
    ) -> None:
        """The store did not take it: who asked is told, and what happened will be decided again."""
        self._ledger.undo()
        for reply, answer in replies:
            _settle(reply, answer if isinstance(answer, NotRun) else Unavailable(retry_after_s=1))
        for each in arrived:
            if not isinstance(each, _Ask):
                self._inbox.put(each)
        for entry in due:
            self._timers.add(entry, by_wall=False)
        if isinstance(error, Unavailable):
            time.sleep(_RETRY_S)
            return
        log.critical("executions could not be written where=%s", site(error))
        if len(batch.changes) == 1:
            self._give_up(*batch.changes)
        self._alone = 2 * self._most_steps

    def _give_up(self, seq: int) -> None:
        """End the one execution that cannot be written; the others go on."""
        batch = self._ledger.begin_batch()
        self._ledger.give_up(seq)
        try:
            self._writer.change(lambda connection: store.write(connection, batch.changes.values()))
        except Exception as error:  # noqa: BLE001 - it stays as it was, and the next start tries again
            self._ledger.undo()
            log.critical("an execution could not be ended where=%s", site(error))
        self._ready = deque(each for each in self._ready if each[0] != seq)

    def _carry_out(self, batch: Batch) -> None:
        for entry, by_wall in batch.timers:
            self._timers.add(entry, by_wall=by_wall)
        for asked in batch.invocations:
            self._perform(asked)
        for change in batch.changes.values():
            if change.run.status != "RUNNING":
                self._tell(change.run)

    def _perform(self, asked: Invocation) -> None:
        self._asked.add((asked.seq, asked.branch, asked.attempt))
        try:
            self._performer.perform(asked, lambda outcome: self._inbox.put(_Came(asked.seq, outcome)))
        except Exception as error:  # noqa: BLE001 - the execution has to hear of it
            log.error("a task could not be asked for where=%s", site(error))
            cause = f"It could not be carried out: {type(error).__name__}"
            outcome = Outcome(asked.branch, asked.attempt, error="States.TaskFailed", cause=cause)
            self._inbox.put(_Came(asked.seq, outcome))

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

    # When the file is opened, and now and then

    def _resume(self) -> None:
        """Take up everything that was under way when the last process ended."""
        for seq, id, phase, due_ms, by_wall in store.under_way(self._reader):
            if phase == "ready":
                self._ready.append((seq, Advance(id)))
            elif due_ms is not None:
                self._timers.add(Entry(seq, id, due_ms), by_wall=bool(by_wall))
            if phase == "task":
                self._ask_again(seq, id)
        for seq, deadline_ms in store.deadlines(self._reader):
            self._timers.add(Entry(seq, None, deadline_ms), by_wall=False)
        if self._ended is not None:
            for seq in store.untold(self._reader):
                if (loaded := self._ledger.loaded(seq)) is not None:
                    self._tell(loaded.run)

    def _ask_again(self, seq: int, id: int) -> None:
        loaded = self._ledger.loaded(seq)
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
