"""The fronts of a server, as the main process sees them: it accepts connections, hands them out, and carries out what
the gates of the fronts ask for.

The front with the fewest connections gets the next one, so that they share the load, and the limit of connections, on
every system. One that dies takes its connections along, and is started again; one that hangs is ended, so that this
holds for it too. See front.py for the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from operator import attrgetter
from typing import Any

import uvloop

from headgate import limits
from headgate.errors import Unavailable
from headgate.gate.observe import site
from headgate.local.drive import LATER
from headgate.local.line import (
    Asked,
    Beat,
    Brought,
    Failed,
    Line,
    Tally,
    Visit,
    Visited,
    Wanted,
    answered,
    heard_of_front,
)
from headgate.local.server import LEAVE_S, Server, obey_signals, suit_the_process

log = logging.getLogger("headgate.local")

Command = Callable[[int, int], Sequence[str]]
"""The command line of a front's process, from the descriptors of its link and of its door."""

_AT_ONCE = 64  # connections accepted in one turn
_RESTART_S = (0.2, 1.0, 5.0)
_PAUSE_S = 1.0  # where no connection can be had, since there are too many files
_EXIT_S = 1.0  # from the end of its link to its exit
_BEAT_S = 5.0


class Fronts:
    """As `Running`, in `many` further processes. `run` serves until a signal or `stop` ends it; requests in flight are
    finished."""

    def __init__(self, server: Server, sock: socket.socket, many: int, command: Command) -> None:
        self._server = server
        server.driver.ahead = True
        self._sock = sock
        self._many = many
        self._command = command
        self._fronts: list[Front] = []
        self._replacing: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._empty = asyncio.Event()
        self._should_stop = False

    def run(self) -> None:
        """Serve, on the main thread."""
        obey_signals(self.stop)
        suit_the_process()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    def stop(self) -> None:
        """End `run` as a signal would; may be called from any thread."""
        self._should_stop = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._should_stop:
            self._stopping.set()
        for _ in range(self._many):
            await self._start()
        watching = self._loop.create_task(self._watch())
        await self._stopping.wait()
        watching.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for front in self._fronts:
            front.dismiss()
        if not self._fronts:
            return
        try:
            async with asyncio.timeout(limits.DRAIN.value + LEAVE_S):
                await self._empty.wait()
        except TimeoutError:
            log.error("%d fronts did not come to an end, and are stopped: a verifier may hang", len(self._fronts))
            for front in self._fronts:
                front.kill()
            await self._empty.wait()
        await self._server.driver.end()

    async def _start(self) -> None:
        while not self._stopping.is_set():
            front = Front(self._server, self._ready, self._lost)
            try:
                await front.start(self._command)
            except OSError as error:
                log.error("no front can be started (%s)", error.strerror)
                await asyncio.sleep(_RESTART_S[-1])
            else:
                self._fronts.append(front)
                return

    def _ready(self) -> None:
        self._failures = 0
        if not self._stopping.is_set():
            self._listen()

    def _listen(self) -> None:
        if self._loop is not None and not self._stopping.is_set() and any(front.is_ready for front in self._fronts):
            self._loop.add_reader(self._sock, self._accept)

    def _lost(self, front: Front) -> None:
        front.dismiss()
        assert self._loop is not None  # noqa: S101 - it runs on it
        if not self._stopping.is_set() and not any(one.is_ready for one in self._fronts):
            self._loop.remove_reader(self._sock)
        task = self._loop.create_task(self._replace(front))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, front: Front) -> None:
        code = await asyncio.to_thread(front.end)
        self._fronts.remove(front)
        if self._stopping.is_set():
            if not self._fronts:
                self._empty.set()
            return
        log.error("a front died code=%d connections=%d: another one is started", code, front.connections)
        if not front.was_ready:  # the app cannot be loaded: its own words are in the log
            await asyncio.sleep(_RESTART_S[min(self._failures, len(_RESTART_S) - 1)])
            self._failures += 1
        if not self._stopping.is_set():
            await self._start()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            for front in self._fronts:
                if front.is_ready:
                    front.beat()

    # ------------------------------------------------------------------------------------------------- connections

    def _accept(self) -> None:
        assert self._loop is not None  # noqa: S101 - it runs on it
        ready = [front for front in self._fronts if front.is_ready]
        if not ready:
            return
        arrived: list[socket.socket] = []
        for _ in range(_AT_ONCE):
            try:
                arrived.append(self._sock.accept()[0])
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                log.error("no connection can be accepted (%s)", error.strerror)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_PAUSE_S, self._listen)
                break
        shares: dict[Front, list[socket.socket]] = {}
        for sock in arrived:
            front = min(ready, key=attrgetter("missed", "connections"))
            front.connections += 1
            shares.setdefault(front, []).append(sock)
        for front, socks in shares.items():
            front.let_in(socks)


class Front:
    """A front's process, seen from here."""

    def __init__(self, server: Server, ready: Callable[[], None], lost: Callable[[Front], None]) -> None:
        self._server = server
        self._driver = server.driver
        self._ready = ready
        self._lost = lost
        self._line = Line(heard_of_front, self._heard, self._gone)
        self._on_their_way: deque[socket.socket] = deque()
        self._bodies: dict[int, asyncio.Future[bytes | None]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._is_asked = False
        self.connections = 0
        self.missed = 0  # beats
        self.was_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return self.was_ready and self._door is not None

    async def start(self, command: Command) -> None:
        """Start the process."""
        link, their_link = socket.socketpair()
        door, their_door = socket.socketpair()
        with their_link, their_door, ExitStack() as failed:
            failed.callback(link.close)
            failed.callback(door.close)
            theirs = (their_link.fileno(), their_door.fileno())
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - this takes no longer than a fork does
                [*command(*theirs)], pass_fds=theirs, stdin=subprocess.DEVNULL
            )
            failed.pop_all()
        door.setblocking(False)
        self._door = door
        await asyncio.get_running_loop().create_connection(lambda: self._line, sock=link)

    def let_in(self, socks: Sequence[socket.socket]) -> None:
        """Hand connections over. A front that takes none any more is stuck: they are closed.

        They stay open here until they have arrived: macOS loses a descriptor that is closed on its way."""
        assert self._door is not None  # noqa: S101 - it is ready
        try:
            socket.send_fds(self._door, [b"+"], [sock.fileno() for sock in socks])
        except OSError as error:
            self.connections -= len(socks)
            log.error("a front takes no connections (%s)", error.strerror)
            for sock in socks:
                sock.close()
        else:
            self._on_their_way.extend(socks)

    def _arrived(self, many: int) -> None:
        for _ in range(many):
            self._on_their_way.popleft().close()

    def dismiss(self) -> None:
        """It is to finish what is in flight, and to end."""
        if self._door is not None:
            self._door.close()
            self._door = None

    def beat(self) -> None:
        """See whether it is alive. Not time is counted but beats: where the whole machine stands still none is missed.

        One that hangs is ended, since whoever is connected to it would wait for ever. What it has asked for is carried
        out, and senders learn what came of it when they try again."""
        if not self._is_asked:
            self._is_asked = True
            self._line.say(Beat())
            return
        self.missed += 1
        if self.missed == limits.SILENCE.value // _BEAT_S:
            log.error("a front hangs, and is stopped: a verifier may block it")
            self.kill()

    def kill(self) -> None:
        """End it, whatever it is at."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> int:
        """See to it that it has ended; its exit code. This may take a moment."""
        assert self._process is not None  # noqa: S101 - it was started
        self.dismiss()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_EXIT_S)
        self._process.kill()
        return self._process.wait()

    def _gone(self) -> None:
        for number in [*self._bodies]:
            self._bring(number, None)
        self._arrived(len(self._on_their_way))
        self._lost(self)

    # ------------------------------------------------------------------------------------------- what it asks for

    def _heard(self, said: Any) -> None:
        match said:
            case Asked(number, effect):
                Answer(self._line, number, type(effect)).seek(self._server, effect)
            case Tally(counts, arrived, ended, beats):
                if beats:
                    self._is_asked, self.missed = False, 0
                self._server.observer.add(counts)
                self._arrived(arrived)
                self.connections -= ended
                if not self.was_ready:
                    self.was_ready = True
                    self._ready()
            case Brought(number, body):
                self._bring(number, body)
            case Visit():
                self._driver.later(Answer(self._line, said.number, None), self._visited(said))

    async def _brought(self, number: int) -> bytes | None:
        """The body of a visit."""
        self._bodies[number] = asyncio.get_running_loop().create_future()
        self._line.say(Wanted(number))
        return await self._bodies[number]

    def _bring(self, number: int, body: bytes | None) -> None:
        waiting = self._bodies.pop(number)
        if not waiting.done():  # or nobody waits any more
            waiting.set_result(body)

    async def _visited(self, visit: Visit) -> Visited:
        """The reply to a request under /-/, by way of ASGI."""
        sent: list[Any] = []
        has_asked = False

        async def receive() -> dict[str, Any]:
            nonlocal has_asked
            body = None if has_asked else await self._brought(visit.number)
            has_asked = True
            return {"type": "http.disconnect"} if body is None else {"type": "http.request", "body": body}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": visit.method, "scheme": "http", "path": visit.path, "raw_path": visit.raw_path,
            "query_string": visit.query, "root_path": "", "headers": visit.headers, "client": visit.client,
            "server": None,
        }  # fmt: skip
        try:
            await self._server.service(scope, receive, send)
        except Exception as error:
            if not sent:
                raise
            log.error("failed under /-/ where=%s", site(error))
        body = b"".join(event.get("body", b"") for event in sent[1:])
        return Visited(visit.number, sent[0]["status"], [*sent[0]["headers"]], body)


class Answer:
    """Who tells a front the answer to what it asked for; of a request under /-/ where no `effect` is named."""

    __slots__ = ("_effect", "_line", "_number")

    def __init__(self, line: Line, number: int, effect: Any) -> None:
        self._line = line
        self._number = number
        self._effect = effect

    def seek(self, server: Server, effect: Any) -> None:
        """Have an effect carried out."""
        try:
            answer = server.driver.carry_out(effect, self)
        except Exception as error:  # noqa: BLE001 - whoever waits must be told
            self.fail(error)
        else:
            if answer is not LATER:
                self.resume(answer)

    def resume(self, answer: Any) -> None:
        self._line.say(answer if self._effect is None else answered(self._number, self._effect, answer))

    def fail(self, error: BaseException) -> None:
        match error:
            case Unavailable():
                self._line.say(Failed(self._number, "unavailable", error.detail, error.retry_after_s))
            case ValueError() if self._effect is not None:
                self._line.say(Failed(self._number, "value", str(error)))
            case _:
                name = "a request under /-/" if self._effect is None else self._effect.__name__
                log.error("%s failed where=%s", name, site(error))
                self._line.say(Failed(self._number, "broken", f"{name} failed in the main process"))
