"""Works off the queues: one crew a channel, each with a thread and some processes (hands) that run the handler.

The crew's thread owns the leases. One durable write settles what its hands have done and claims what they do next. A
hand whose handler takes too long is killed; the message it was at has had its attempt, those behind it have not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from headgate import limits
from headgate.clock import Clock, SystemClock
from headgate.declare.app import App
from headgate.declare.channel import Channel
from headgate.declare.settings import Secret
from headgate.engine import Lease, Settlement
from headgate.errors import Unavailable
from headgate.gate.answer import Gate
from headgate.gate.handle import BROKE, Report
from headgate.gate.observe import site
from headgate.gate.work import Archived, Attempt, Effect, Handle, Promote, Settle, Steps, Work, in_groups
from headgate.local.archive import LocalArchive
from headgate.local.engine import LocalEngine
from headgate.local.frames import READ_BYTES, Unframing, encoded_groups, framed, reports_of
from headgate.local.hand import Orders
from headgate.local.queue import LocalQueue

log = logging.getLogger("headgate.local")
said = logging.getLogger("headgate.handlers")

_AHEAD_S = 0.05  # so much work is handed to a process at a time
_AHEAD_MOST = 128
_STUCK_S = 0.25  # a handler that takes longer has nothing waiting behind it
_LINE_BYTES = 8 * 1024
_RESTART_S = (0.2, 1.0, 5.0)
_PAUSE_S = 1.0
_LEAVE_S = 2.0


class Hand:
    """A handler's process, seen from here."""

    def __init__(self, line: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._line = line
        self._frames = Unframing()
        self._to_send = bytearray()
        self._said = bytearray()
        self.groups: deque[list[Attempt]] = deque()
        self.is_ready = False
        self.is_recalled = False
        self.is_mute = False
        self.since_s = 0.0
        self.pace_s = 1.0

    @classmethod
    def started(cls, orders: Orders, environ: Mapping[str, str]) -> Hand:
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
        if not self.is_ready or self.is_recalled or self.is_stuck(now_s):
            return 0
        ahead = min(_AHEAD_MOST, int(_AHEAD_S / self.pace_s)) if self.pace_s > 0 else _AHEAD_MOST
        return max(1, ahead) - len(self.groups)

    def give(self, groups: Sequence[list[Attempt]], now_s: float) -> None:
        """Hand it some more."""
        if not self.groups:
            self.since_s = now_s
        self.groups.extend(groups)
        content = encoded_groups(
            [[attempt.lease.message._replace(timeline=()) for attempt in group] for group in groups]
        )
        self._to_send += framed(content)
        self.send()

    def is_stuck(self, now_s: float) -> bool:
        """Whether it is at a group for so long that nothing should wait behind."""
        return bool(self.groups) and now_s - self.since_s >= _STUCK_S

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

    def receive(self, now_s: float) -> list[tuple[list[Attempt], list[Report] | None]] | None:
        """Groups that are done, with their reports, and those that it gave back; None where the process has ended."""
        done: list[tuple[list[Attempt], list[Report] | None]] = []
        try:
            while piece := self._line.recv(READ_BYTES):
                for content in self._frames.feed(piece):
                    told = reports_of(content)
                    if isinstance(told, int):
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

    def end(self) -> int:
        """End it and what it has started, if need be by force; its exit code."""
        if not self.groups:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._line.shutdown(socket.SHUT_WR)
                self._process.wait(_LEAVE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._line.close()
        self.output.close()
        return code


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return process.stdout


class Crew:
    """Works one channel off, on a thread of its own."""

    def __init__(
        self, work: Work, queue: LocalQueue, archive: LocalArchive, orders: Orders, environ: Mapping[str, str]
    ) -> None:
        self._work = work
        self._queue = queue
        self._archive = archive
        self._orders = orders
        self._environ = environ
        self._needs = work.channel.needs
        self._clock = SystemClock()  # of the processes, which know no other
        self._hands: list[Hand] = []
        self._done: list[tuple[Promote | Settle, Steps | None]] = []
        self._failures = 0
        self._start_at_s = 0.0
        self._drain_s = 0.0
        self._stopping = threading.Event()
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"headgate-crew-{work.channel.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do; from any thread."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._alarm.send(b"\0")

    def stop(self, patience_s: float) -> None:
        """Begin nothing more; what is in work gets so much time."""
        self._drain_s = patience_s
        self._stopping.set()
        self.wake()

    def join(self) -> None:
        """Wait until the last attempt is settled, or was cut off."""
        self._thread.join()

    # ----------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._guarded(self._round)
            self._guarded(self._drain)
        finally:
            self._dismiss_all()
            self._selector.close()
            self._awake.close()
            self._alarm.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        """A mistake of ours must not stop a channel for good: hands begin anew, and what they were at comes back when
        its leases run out."""
        try:
            step()
        except Exception as error:  # noqa: BLE001
            log.critical("a crew failed and begins anew channel=%s where=%s", self._work.channel.name, site(error))
            self._dismiss_all()
            self._done.clear()
            self._stopping.wait(_PAUSE_S)

    def _dismiss_all(self) -> None:
        for hand in list(self._hands):
            self._dismiss(hand)

    def _round(self) -> None:
        due_ms = self._queue.idle_ms(self._work.channel.name)
        self._staff(is_due=due_ms == 0)
        room = self._room() if due_ms == 0 else 0
        if room or self._done:
            self._turn_over(room)
        else:
            self._wait(self._patience_s(due_ms))
        self._listen()

    def _drain(self) -> None:
        """Hands finish the group they are at; what they were given beyond it goes back uncounted."""
        until_s = self._clock.elapsed_s() + self._drain_s
        for hand in self._hands:
            hand.recall()
        while any(hand.groups for hand in self._hands) and self._clock.elapsed_s() < until_s:
            self._wait(min(self._patience_s(None) or _PAUSE_S, _PAUSE_S))
            self._listen()
            if self._done:
                self._turn_over(0)
        for hand in self._hands:
            self._give_back([attempt for group in hand.groups for attempt in group])
            hand.groups.clear()
        if self._done and self._drain_s:
            self._turn_over(0)

    def _patience_s(self, due_ms: int | None) -> float | None:
        """How long nothing may happen."""
        now_s = self._clock.elapsed_s()
        until = [hand.since_s + self._needs.timeout_s - now_s for hand in self._hands if hand.groups]
        until += [
            hand.since_s + _STUCK_S - now_s for hand in self._hands if len(hand.groups) > 1 and not hand.is_recalled
        ]
        if due_ms:
            until.append(due_ms / 1000)
        if not self._hands and self._work.channel.handler is not None:
            until.append(self._start_at_s - now_s)
        return max(0.0, min(until)) if until else None

    def _wait(self, patience_s: float | None) -> None:
        for hand in self._hands:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if hand.has_to_send else 0)
            if self._selector.get_key(hand.line).events != wanted:
                self._selector.modify(hand.line, wanted, hand)
        self._selector.select(patience_s)

    # ---------------------------------------------------------------------------------------------------- the messages

    def _room(self) -> int:
        if self._work.channel.handler is None:
            return limits.PAGE.value
        now_s = self._clock.elapsed_s()
        return sum(max(0, hand.room(now_s)) for hand in self._hands) * self._needs.batch

    def _turn_over(self, room: int) -> None:
        done, self._done = self._done, []
        effects = [effect for effect, _ in done]
        try:
            answers, leases = self._queue.turn_over(effects, self._work.channel.name, room, self._work.lease_ms)
        except Unavailable:
            self._done = done  # the disk is full, or slow: again, until it is written
            self._wait(_PAUSE_S)
            return
        for (effect, steps), answer in zip(done, answers, strict=True):
            if steps is not None:
                self._step(Attempt(effect.lease, steps), answer)
        self._hand_out(self._begun([Attempt(lease, self._steps(lease)) for lease in leases]))

    def _begun(self, attempts: list[Attempt]) -> list[Attempt]:
        """Those of which the handler is next; objects that are to be kept first are kept together, by one sync."""
        effects = [self._step(attempt, None) for attempt in attempts]
        objects = [effect.object for effect in effects if isinstance(effect, Archived)]
        names = iter(self._archive.put(objects) if objects else ())
        to_handle = []
        for attempt, effect in zip(attempts, effects, strict=True):
            after = self._step(attempt, next(names) or "") if isinstance(effect, Archived) else effect
            if isinstance(after, Handle):
                to_handle.append(attempt)
        return to_handle

    def _step(self, attempt: Attempt, answer: Any) -> Effect | None:
        """Let the gate take its next step. What is to be written down is remembered for the next write."""
        effect = next(attempt.steps, None) if answer is None else _sent(attempt.steps, answer)
        if isinstance(effect, Promote | Settle):
            self._done.append((effect, attempt.steps))
        return effect

    def _steps(self, lease: Lease) -> Steps:
        return self._work.look(lease) if self._queue.is_unread(lease) else self._work.attempt(lease)

    def _hand_out(self, attempts: list[Attempt]) -> None:
        """Even shares, so that no hand is idle while another has work ahead."""
        groups = in_groups(attempts, self._needs.batch)
        now_s = self._clock.elapsed_s()
        hands = [hand for hand in self._hands if hand.room(now_s) > 0] or self._hands
        rooms = [hand.room(now_s) for hand in hands]
        shares: list[list[list[Attempt]]] = [[] for _ in hands]
        for group in groups:
            at = max(range(len(hands)), key=lambda n: rooms[n] - len(shares[n]))
            shares[at].append(group)
        for hand, share in zip(hands, shares, strict=True):
            if share:
                hand.give(share, now_s)

    def _give_back(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            attempt.steps.close()
            self._done.append((Settle(attempt.lease, Settlement("accepted", uncounted=True)), None))

    # ------------------------------------------------------------------------------------------------------- the hands

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
        now_s = self._clock.elapsed_s()
        for hand in list(self._hands):
            hand.send()
            done = hand.receive(now_s)
            for line in hand.lines():
                said.info("channel=%s %s", self._work.channel.name, line)
            for group, reports in done or ():
                self._failures = 0
                if reports is None:
                    self._give_back(group)
                    continue
                for attempt, report in zip(group, reports, strict=True):
                    self._step(attempt, report)
            if hand.is_mute and hand.output in self._selector.get_map():
                self._selector.unregister(hand.output)
            if done is None:
                self._lose(hand)
            elif hand.groups and now_s - hand.since_s >= self._needs.timeout_s:
                self._kill(hand)
            elif len(hand.groups) > 1 and hand.is_stuck(now_s) and not hand.is_recalled:
                hand.recall()

    def _kill(self, hand: Hand) -> None:
        detail = f"The handler did not end within {self._needs.timeout_s:g} seconds, and was stopped."
        log.warning("a handler took too long channel=%s timeout_s=%g", self._work.channel.name, self._needs.timeout_s)
        took_ms = round(1000 * (self._clock.elapsed_s() - hand.since_s))
        self._dismiss(hand, Report("retry", took_ms, detail, kind="Timeout"))

    def _lose(self, hand: Hand) -> None:
        """Its process has ended, not because we said so."""
        was_ready = hand.is_ready
        took_ms = round(1000 * (self._clock.elapsed_s() - hand.since_s))
        code = self._dismiss(hand, Report("retry", took_ms, BROKE, "Died", told="The process of the handler died."))
        log.error("a handler's process died channel=%s code=%d", self._work.channel.name, code)
        if not was_ready:  # the app cannot be loaded: its own words are in the log
            self._start_at_s = self._clock.elapsed_s() + _RESTART_S[min(self._failures, len(_RESTART_S) - 1)]
            self._failures += 1

    def _dismiss(self, hand: Hand, report: Report | None = None) -> int:
        """End it. The group it was at had its attempt; what waits behind did not."""
        self._hands.remove(hand)
        self._selector.unregister(hand.line)
        if hand.output in self._selector.get_map():
            self._selector.unregister(hand.output)
        for line in hand.lines():
            said.info("channel=%s %s", self._work.channel.name, line)
        code = hand.end()
        if hand.groups and report is not None:
            for attempt in hand.groups.popleft():
                self._step(attempt, report)
        self._give_back([attempt for group in hand.groups for attempt in group])
        return code

    def _staff(self, *, is_due: bool) -> None:
        """One hand is always there; another comes when all are busy and more is due."""
        if self._work.channel.handler is None or self._clock.elapsed_s() < self._start_at_s:
            return
        busy = all(hand.is_ready and hand.groups for hand in self._hands)
        if not self._hands or (is_due and busy and len(self._hands) < self._needs.concurrency):
            hand = Hand.started(self._orders, self._environ)
            self._hands.append(hand)
            self._selector.register(hand.line, selectors.EVENT_READ, hand)
            self._selector.register(hand.output, selectors.EVENT_READ, hand)


def _sent(steps: Steps, answer: Any) -> Effect | None:
    try:
        return steps.send(answer)
    except StopIteration:
        return None


class Workers:
    """A crew for each queue of an app. `target` is where hands load the app from."""

    def __init__(
        self, app: App, target: str, engine: LocalEngine, gate: Gate, settings: Mapping[str, str], clock: Clock
    ) -> None:
        self._queue = queue = engine.queue
        self._crews = {
            channel.name: Crew(
                Work(gate.plan_of(channel), channel.queue, clock, gate.observer),
                queue,
                engine.archive,
                Orders(target, channel.name, -1, channel.needs.memory_mb),
                _environ(app, channel, settings),
            )
            for channel in app.channels
            if channel.queue is not None
        }
        queue.when_more(self._wake)

    def _wake(self, channels: Sequence[str]) -> None:
        for channel in channels:
            if channel in self._crews:
                self._crews[channel].wake()

    def stop(self, patience_s: float = limits.DRAIN.value) -> None:
        """Finish what is in work, and nothing else. Without patience what is in work is begun again some day."""
        self._queue.when_more(lambda _: None)
        for crew in self._crews.values():
            crew.stop(patience_s)
        for crew in self._crews.values():
            crew.join()


def _environ(app: App, channel: Channel, settings: Mapping[str, str]) -> dict[str, str]:
    """What a handler finds in its environment: what the channel declares, and none of the app's other secrets."""
    hidden = {setting.name for _, setting in app.settings() if isinstance(setting, Secret)}
    shown = {name: value for name, value in os.environ.items() if name not in hidden}
    for name, value in channel.needs.env.items():
        shown[name] = value if isinstance(value, str) else settings.get(value.name, "")
    shown |= {secret.name: settings.get(secret.name, "") for secret in channel.needs.secrets}
    return {**shown, "PYTHONUNBUFFERED": "1"}
