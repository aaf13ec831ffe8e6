"""The app whose handlers hang, die and print; what they do stands in the file that EFFECTS names."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from headgate import App, Env, Message, Permanent, Public, Queued, RetryPolicy, Secret, Stream

AT_ONCE = RetryPolicy(first_s=0.05, most_s=0.05)
LIMIT_S = 900  # runs out when a test sets the clock forward, see launch.py, and not because the machine is slow

app = App("crew")


def note(*words: object) -> None:
    with Path(os.environ["EFFECTS"]).open("a") as effects:
        effects.write(" ".join(map(str, words)) + "\n")


def hang() -> None:
    time.sleep(3_600)


@app.channel(
    "/jobs", key="id", auth=Public(), read=True, delivery=Queued(attempts=3, backoff=AT_ONCE), timeout_s=LIMIT_S,
    concurrency=2, memory_mb=256,
    env={"COLOUR": "blue", "PLACE": Env("PLACE", "here")}, secrets=[Secret("OF_JOBS")],
)  # fmt: skip
def work(job: dict[str, Any], message: Message) -> None:
    note("begun", job["id"], message.attempt)
    match job.get("do"):
        case "hang":
            hang()
        case "hang once" if message.attempt == 1:
            hang()
        case "start":
            note("started", os.getpid(), subprocess.Popen(["sleep", "3600"]).pid)
            hang()
        case "die":
            os._exit(3)
        case "eat":
            print(len(bytearray(10**9)))
        case "fail":
            raise Permanent("as told")
        case "print":
            print("a line", job["id"], flush=True)
            print("x" * 20_000)
        case "look":
            names = ("COLOUR", "PLACE", "OF_JOBS", "OF_OTHERS")
            note("saw", *(os.environ.get(name) for name in names))
        case "wait":
            while not Path(os.environ["EFFECTS"]).with_name("go on").exists():
                time.sleep(0.01)
    note("done", job["id"], message.attempt)


app.channel("/patient", key="id", auth=Public(), delivery=Queued(), timeout_s=LIMIT_S, concurrency=2)(work)


@app.channel("/others", key="id", auth=Public(), read=True, delivery=Queued(), secrets=[Secret("OF_OTHERS")])
async def others(job: dict[str, Any]) -> None:
    note("done", job["id"], 1)


@app.channel(
    "/ones", key="id", auth=Public(), read=True, delivery=Queued(attempts=2, backoff=AT_ONCE), concurrency=1,
    memory_mb=256,
)  # fmt: skip
def one_by_one(job: dict[str, Any], message: Message) -> None:
    note("process", job["id"], message.attempt, os.getpid())
    match job.get("do"):
        case "eat":
            print(len(bytearray(10**9)))
        case "fork":
            os.fork()


events = app.channel(
    "/events", key="id", auth=Public(), delivery=Stream(shards=3, partition_key="line", attempts=2, backoff=AT_ONCE),
    timeout_s=LIMIT_S, batch=10,
)  # fmt: skip


@events
def totals(some: list[dict[str, Any]], messages: list[Message]) -> None:
    for event, message in zip(some, messages, strict=True):
        note("totals", event["id"], message.attempt)
        if event.get("do") == "die":
            os._exit(3)
        if event.get("do") == "hang":
            hang()


@events
def mail(some: list[dict[str, Any]]) -> None:
    for event in some:
        note("mail", event["id"])
