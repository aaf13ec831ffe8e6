"""Hands: the processes that run handlers, as the crew that they belong to sees them. See hand.py for the other side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Generic, TypeVar

import msgspec

from headgate.gate.handle import Report
from headgate.local.frames import READ_BYTES, Unframing, encoded_groups, framed, reports_of
from headgate.local.hand import Orders
from headgate.message import Message

_AHEAD_S = 0.05  # so much work is handed to a process at a time
_AHEAD_MOST = 128
STUCK_S = 0.25  # a handler that takes longer has nothing waiting behind it
_LINE_BYTES = 8 * 1024
_LEAVE_S = 2.0

Group = TypeVar("Group")


class Hand(Generic[Group]):
    """A handler's process, seen from here. What it is given are groups: messages, with whatever its crew knows them
    by."""

    def __init__(self, line: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._line = line
        self._frames = Unframing()
        self._to_send = bytearray()
        self._said = bytearray()
        self.groups: deque[Group] = deque()
        self.is_ready = False
        self.is_recalled = False
        self.is_mute = False
        self.is_spent = False
        self.since_s = 0.0
        self.pace_s = 1.0
        self._leaves_by_s: float | None = None

    @classmethod
    def started(cls, orders: Orders, environ: Mapping[str, str]) -> Hand[Group]:
        """A process of its own session, so that what the handler starts can be killed with it."""
        ours, theirs = socket.socketpair()
        with theirs:
            told = json.dumps(orders._replace(line=theirs.fileno()))
            bytecode = ["-B"] if sys.flags.dont_write_bytecode else []
            command = [sys.executable, "-P", *bytecode, "-m", "headgate.local.hand", told]
            process = subprocess.Popen(  # noqa: S603
                command, pass_fds=(theirs.fileno(),), start_new_session=True, env=dict(environ),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        ours.setblocking(False)
        os.set_blocking(_output(process).fileno(), False)
        return cls(ours, process)

    @property
    def line(self) -> socket.socket:
        """Where frames come and go."""
        return self._line

    @property
    def output(self) -> IO[bytes]:
        """What the handler prints."""
        return _output(self._process)

    @property
    def has_to_send(self) -> bool:
        """Whether the process has not taken all yet."""
        return bool(self._to_send)

    def room(self, now_s: float) -> int:
        """How many groups it may be given: some work ahead, if that is quickly done."""
        if not self.is_ready or self.is_recalled or self.is_spent or self.is_stuck(now_s):
            return 0
        ahead = min(_AHEAD_MOST, int(_AHEAD_S / self.pace_s)) if self.pace_s > 0 else _AHEAD_MOST
        return max(1, ahead) - len(self.groups)

    def give(self, groups: Sequence[Group], messages: Sequence[Sequence[Message]], now_s: float) -> None:
        """Hand it some more: groups, and the messages of each."""
        if not self.groups:
            self.since_s = now_s
        self.groups.extend(groups)
        self._to_send += framed(encoded_groups([[one._replace(timeline=()) for one in some] for some in messages]))
        self.send()

    def is_stuck(self, now_s: float) -> bool:
        """Whether it is at a group for so long that nothing should wait behind."""
        return bool(self.groups) and now_s - self.since_s >= STUCK_S

    def recall(self) -> None:
        """Ask for the groups that it has not begun."""
        self.is_recalled = True
        self._to_send += framed(encoded_groups([]))
        self.send()

    def send(self) -> None:
        """As much as the process takes now."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._to_send:
                del self._to_send[: self._line.send(self._to_send)]

    def receive(self, now_s: float) -> list[tuple[Group, list[Report] | None]] | None:
        """Groups that are done, with their reports, and those that it gave back; None where the process has ended."""
        done: list[tuple[Group, list[Report] | None]] = []
        try:
            while piece := self._line.recv(READ_BYTES):
                for content in self._frames.feed(piece):
                    told = reports_of(content)
                    if told is None:
                        self.is_spent = True
                    elif isinstance(told, int):
                        self.is_recalled = False
                        done += [(self.groups.pop(), None) for _ in range(told)]
                    elif self.is_ready:
                        done.append((self.groups.popleft(), told))
                    else:
                        self.is_ready = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            return done or None
        except (msgspec.MsgspecError, IndexError):  # the handler has found its line: nothing more is believed
            self._line.shutdown(socket.SHUT_RDWR)
            return done or None
        else:
            return done or None
        if any(reports is not None for _, reports in done):
            self.pace_s += ((now_s - self.since_s) / len(done) - self.pace_s) * (0.5 if self.pace_s < 1 else 1)
            self.since_s = now_s
        return done

    def lines(self) -> list[str]:
        """What the handler printed since: whole lines, and what is too long for one."""
        with contextlib.suppress(BlockingIOError):
            piece = self.output.read(READ_BYTES)
            self.is_mute = piece == b""
            self._said += piece or b""
        *whole, rest = self._said.split(b"\n")
        if len(rest) > _LINE_BYTES:
            whole, rest = [*whole, rest], bytearray()
        self._said = bytearray(rest)
        return [line[:_LINE_BYTES].decode("utf-8", "backslashreplace") for line in whole if line.strip()]

    def leave(self) -> None:
        """It is to end by itself, if it is at nothing."""
        if self._leaves_by_s is None and not self.groups:
            self._leaves_by_s = time.monotonic() + _LEAVE_S
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_WR)

    def end(self) -> int:
        """End it and what it has started, if need be by force; its exit code."""
        self.leave()
        if self._leaves_by_s is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, self._leaves_by_s - time.monotonic()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._line.close()
        self.output.close()
        return code


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return process.stdout
