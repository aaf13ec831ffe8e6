"""Runs tasks in processes of their own, which can be stopped: one call at a time in each, kept for the next one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import IO, Any

from headgate.clock import SystemClock
from headgate.declare.app import App
from headgate.declare.settings import Secret
from headgate.declare.task import Task
from headgate.local.executions.services import TaskFailed
from headgate.local.frames import READ_BYTES, Unframing, framed
from headgate.local.task_hand import TaskOrders

said = logging.getLogger("headgate.tasks")

_START_S = 30.0
_LINE_CHARS = 8 * 1024


class GoneError(Exception):
    """The process ended in the middle of a call, or never came up."""


class TaskProcess:
    """One process of one task. Lives on one thread at a time, but for `kill`."""

    def __init__(self, orders: TaskOrders, environ: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            told = json.dumps(orders._replace(line=theirs.fileno()))
            bytecode = ["-B"] if sys.flags.dont_write_bytecode else []
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", *bytecode, "-m", "headgate.local.task_hand", told],
                pass_fds=(theirs.fileno(),), start_new_session=True, env=dict(environ),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._frames = Unframing()
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        threading.Thread(target=_pass_on, args=(orders.task, self._process.stdout), daemon=True).start()

    def wait_until_up(self) -> None:
        """Return when it has loaded the app. Raises as `call` does."""
        self._answer(_START_S)

    def call(self, given: Any, timeout_s: float) -> Any:
        """What the task says: its frame's content. Raises TimeoutError, or GoneError where the process ended."""
        try:
            self._line.sendall(framed(json.dumps({"given": given}, ensure_ascii=False).encode()))
        except OSError:
            raise GoneError from None
        return self._answer(timeout_s)

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, as what has gone too far may be, also between calls."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill it, with all that it started; not after `end`. Who waits for it is told."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone already
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill it, and let go of it; its exit code."""
        self.kill()
        code = self._process.wait()
        self._line.close()
        return code

    def _answer(self, timeout_s: float) -> Any:
        clock = SystemClock()
        until_s = clock.elapsed_s() + timeout_s
        while (left_s := until_s - clock.elapsed_s()) > 0:
            self._line.settimeout(left_s)
            try:
                piece = self._line.recv(READ_BYTES)
            except TimeoutError:
                break
            except OSError:
                raise GoneError from None
            if not piece:
                raise GoneError
            if frames := [*self._frames.feed(piece)]:
                return json.loads(frames[0])  # one answer a call
        raise TimeoutError


class LocalTasks:
    """The tasks of an app. `target` is where processes load the app from; `invoke` may be called from any thread."""

    def __init__(self, app: App, target: str, settings: Mapping[str, str]) -> None:
        self._target = target
        self._tasks = {task.name: task for task in app.tasks}
        self._environs = {task.name: _environ(app, task, settings) for task in app.tasks}
        self._idle: dict[str, list[TaskProcess]] = defaultdict(list)
        self._busy: set[TaskProcess] = set()
        self._ending = 0
        self._guard = threading.Condition()
        self._closed = False

    def invoke(self, name: str, event: Any, token: str) -> Any:
        """Run a task. Raises KeyError where there is none of that name, TaskFailed as Lambda would tell it."""
        task = self._tasks[name]
        process = self._process(task)
        try:
            answer = process.call(event, task.needs.timeout_s)
        except TimeoutError:
            self._let_go(process)
            told = f"RequestId: {token} Error: Task timed out after {task.needs.timeout_s:.2f} seconds"
            raise _failed("Sandbox.Timedout", told) from None
        except GoneError:
            told = f"RequestId: {token} Error: Runtime exited with error: {_ending(self._let_go(process))}"
            raise _failed("Runtime.ExitError", told) from None
        except BaseException:
            self._let_go(process)
            raise
        if answer.get("spent"):  # no memory or no files are left in it: the next call is to have a new one
            self._let_go(process)
        else:
            self._keep(name, process)
        if "error" in answer:
            raise TaskFailed(answer["error"], answer["cause"])
        return answer["result"]

    def close(self) -> None:
        """Stop every process; calls that are under way fail. Returns when all have ended."""
        with self._guard:
            self._closed = True
            for process in self._busy:
                process.kill()
            idle = [process for some in self._idle.values() for process in some]
            self._idle.clear()
        for process in idle:
            process.end()
        with self._guard:
            self._guard.wait_for(lambda: not (self._busy or self._ending))

    def _process(self, task: Task) -> TaskProcess:
        with self._guard:
            if self._closed:
                raise _failed("Runtime.ExitError", "The server stops.")
            while self._idle[task.name]:
                process = self._idle[task.name].pop()
                if not process.has_ended:
                    self._busy.add(process)
                    return process
                process.end()
        orders = TaskOrders(self._target, task.name, -1, task.needs.memory_mb)
        process = TaskProcess(orders, self._environs[task.name])
        with self._guard:
            self._busy.add(process)
            if self._closed:
                process.kill()
        try:
            process.wait_until_up()
        except (GoneError, TimeoutError):
            self._let_go(process)
            raise _failed("Runtime.ImportModuleError", f"The process of the task {task.name} did not start.") from None
        return process

    def _keep(self, name: str, process: TaskProcess) -> None:
        """For the next call."""
        with self._guard:
            if not self._closed:
                self._busy.discard(process)
                self._idle[name].append(process)
                return
        self._let_go(process)

    def _let_go(self, process: TaskProcess) -> int:
        with self._guard:
            self._busy.discard(process)
            self._ending += 1
        try:
            return process.end()
        finally:
            with self._guard:
                self._ending -= 1
                self._guard.notify_all()


def _failed(name: str, message: str) -> TaskFailed:
    return TaskFailed(name, json.dumps({"errorType": name, "errorMessage": message}))


def _ending(code: int) -> str:
    return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _environ(app: App, task: Task, settings: Mapping[str, str]) -> dict[str, str]:
    """What a task finds in its environment: what it declares, and none of the app's other secrets."""
    hidden = {setting.name for _, setting in app.settings() if isinstance(setting, Secret)}
    shown = {name: value for name, value in os.environ.items() if name not in hidden}
    for name, value in task.needs.env.items():
        shown[name] = value if isinstance(value, str) else settings.get(value.name, "")
    shown |= {secret.name: settings.get(secret.name, "") for secret in task.needs.secrets}
    return {**shown, "PYTHONUNBUFFERED": "1"}


def _pass_on(task: str, output: IO[bytes]) -> None:
    """What a task prints is a line of the log."""
    with output:
        while line := output.readline(_LINE_CHARS):
            if text := line.decode("utf-8", "backslashreplace").rstrip():
                said.info("task=%s %s", task, text)
