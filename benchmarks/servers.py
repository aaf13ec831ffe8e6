"""The servers that are measured side by side, each on loopback, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import sqlite3
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
POOL_CONNECTIONS = 40  # 10, 20 and 80 were not faster when tried once each
READY_S = 30


class MissingToolError(Exception):
    """Something has to be installed first; the text says what."""


@dataclass(frozen=True)
class Running:
    """A server that answers on `port`. `rows` counts what it has stored; None where it stores nothing."""

    port: int
    processes: tuple[subprocess.Popen[bytes], ...]
    rows: Callable[[], int] | None

    def memory_mb(self) -> float:
        """Proportional set size of all its processes: shared pages are counted once."""
        pids = {pid for process in self.processes for pid in _family(process.pid)}
        return sum(map(_pss_kb, pids)) / 1024

    def processor_s(self) -> float:
        """What all its processes have used of the processor since they began."""
        return sum(_processor_s(pid) for process in self.processes for pid in _family(process.pid))


@dataclass(frozen=True)
class Server:
    """One of those measured; `promise` says what its success means."""

    name: str
    title: str
    promise: str
    start: Callable[[Path], AbstractContextManager[Running]]


def headgate(processes: int) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, state = free_port(), folder / "state"
        command = [BIN / "headgate", "serve", "--app", HERE / "app.py", "--port", port, "--state", state]
        shared = ["--processes", processes] if processes > 1 else []
        with _process([*command, *shared], folder, lambda: _listens(port)) as process:
            yield Running(port, (process,), lambda: _count(state / "messages.sqlite3", "select count(*) from message"))

    return start


@contextmanager
def fastapi_sqlalchemy(folder: Path) -> Iterator[Running]:
    store, port = folder / "store.db", free_port()
    command = _uvicorn("fastapi_sqlalchemy", port)
    setting = {"BENCHMARK_STORE": str(store)}
    with _process(command, folder, lambda: _listens(port), environment=setting) as process:
        yield Running(port, (process,), lambda: _count(store, "select count(*) from message"))


def fastapi_asyncpg(workers: int) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port = free_port()
        with postgres(folder) as (database, url):
            setting = {"BENCHMARK_STORE": url, "BENCHMARK_POOL": str(POOL_CONNECTIONS // workers)}
            command = [*_uvicorn("fastapi_asyncpg", port), "--workers", workers]
            with _process(command, folder, lambda: _listens(port), environment=setting) as process:
                yield Running(port, (process, database), lambda: _postgres_rows(url))

    return start


def nginx(workers: str) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, conf = free_port(), folder / "nginx.conf"
        template = string.Template((HERE / "peers/nginx.conf").read_text())
        conf.write_text(template.substitute(workers=workers, folder=folder, port=port))
        program = tool("nginx", "nginx-light")
        with _process([program, "-c", conf, "-e", "stderr"], folder, lambda: _listens(port)) as process:
            yield Running(port, (process,), None)

    return start


SERVERS = {
    server.name: server
    for server in (
        Server("headgate", "headgate", "synced to disk (SQLite WAL, synchronous=FULL)", headgate(1)),
        Server(
            "headgate-fronts",
            "headgate --processes 2",
            "synced to disk (SQLite WAL, synchronous=FULL)",
            headgate(2),
        ),
        Server(
            "sqlalchemy",
            "FastAPI + SQLAlchemy + SQLite",
            "synced to disk (SQLite WAL, synchronous=FULL)",
            fastapi_sqlalchemy,
        ),
        Server(
            "asyncpg",
            "FastAPI + asyncpg + PostgreSQL",
            "synced to disk (fsync=on, synchronous_commit=on)",
            fastapi_asyncpg(1),
        ),
        Server(
            "asyncpg-workers",
            "FastAPI + asyncpg + PostgreSQL, 2 workers",
            "synced to disk (fsync=on, synchronous_commit=on)",
            fastapi_asyncpg(2),
        ),
        Server("nginx", "nginx, empty 200, 1 worker", "nothing: the body is neither read nor kept", nginx("1")),
        Server(
            "nginx-auto",
            "nginx, empty 200, a worker per core",
            "nothing: the body is neither read nor kept",
            nginx("auto"),
        ),
    )
}


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A PostgreSQL cluster of its own, on a socket in `folder`; as user postgres where we are root."""
    data = folder / "postgres"
    data.mkdir()
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
    user = "postgres" if owner else pwd.getpwuid(os.geteuid()).pw_name
    cluster = data / "cluster"
    settings = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={user}"]
    make = [_postgres_tool("initdb"), *settings, str(cluster)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=data, **owner)
    command = [_postgres_tool("postgres"), "-D", cluster, "-k", data, "-c", "listen_addresses="]
    with _process(command, data, lambda: _postgres_answers(data, user), end=signal.SIGINT, **owner) as process:
        yield process, f"postgresql://{user}@/postgres?host={data}"


def tool(name: str, package: str) -> str:
    """The path of a program. Raises MissingToolError, with the Debian package to install."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        raise MissingToolError(f"{name} is not installed: apt-get install -y {package}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _uvicorn(module: str, port: int) -> list[object]:
    return [
        BIN / "uvicorn", f"peers.{module}:app", "--app-dir", HERE, "--port", port,
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


@contextmanager
def _process(
    command: list[object],
    folder: Path,
    answers: Callable[[], bool],
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    end: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers, ended when the block is left; killed where it does not end. Its log is in `folder`."""
    words = [str(part) for part in command]
    with (folder / f"{Path(words[0]).name}.log").open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            words, cwd=folder, env=os.environ | environment, stdout=log, stderr=log, **options
        )
        try:
            _wait_until_ready(process, answers, Path(log.name))
            yield process
        finally:
            process.send_signal(end)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    give_up = time.monotonic() + READY_S
    while not answers():
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"{log.stem} does not answer; it says:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _postgres_tool(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else tool(name, "postgresql")


def _postgres_answers(folder: Path, user: str) -> bool:
    asked = subprocess.run([_postgres_tool("pg_isready"), "-q", "-h", folder, "-U", user], check=False)
    return asked.returncode == 0


def _postgres_rows(url: str) -> int:
    command = [tool("psql", "postgresql"), "-tA", "-c", "select count(*) from message", url]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def _count(store: Path, query: str) -> int:
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _family(int(child))


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # one of PostgreSQL's helpers that has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
