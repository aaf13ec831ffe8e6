"""Workflows on headgate, durable, beside moto's interpreter, which keeps nothing: in one run, each in its process.

    .venv/bin/python benchmarks/workflows.py [--quick]

Writes benchmarks/WORKFLOWS.md. Both run the same definitions, without Task states: moto invokes functions in Docker.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PAGE = HERE / "WORKFLOWS.md"
MODULES = {"headgate": "headgate.local.executions", "moto": "moto.stepfunctions.parser.models"}
IMPORT_GOAL_MS = 150
END = {"Type": "Pass", "End": True}
THREE = {
    "StartAt": "A",
    "States": {
        "A": {"Type": "Pass", "Result": {"x": 1}, "ResultPath": "$.a", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.a.x", "NumericEquals": 1, "Next": "C"}], "Default": "C"},
        "C": END,
    },
}
MAP = {
    "StartAt": "M",
    "States": {"M": {"Type": "Map", "ItemProcessor": {"StartAt": "P", "States": {"P": END}}, "End": True}},
}
ITEMS = json.dumps(list(range(1000)))


def headgate(quick: bool) -> dict[str, float]:
    from headgate.clock import SystemClock
    from headgate.local.executions import LocalExecutions, Workflow
    from headgate.local.executions.services import Services

    known = {"three": Workflow(THREE), "map": Workflow(MAP)}
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        file = Path(folder) / "executions.sqlite3"
        room = LocalExecutions(file, known, Services(lambda _name, event, _token: event), SystemClock())

        def run(workflow: str, input: str) -> None:
            id = room.start(workflow, None, input).id
            while True:
                found = room.describe(id)
                if found is not None and found.status != "RUNNING":
                    return
                time.sleep(0.0002)

        def many(count: int) -> None:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(32) as callers:
                list(callers.map(lambda _: room.start("three", None, "{}"), range(count)))
            room.settle(60)

        figures = measured(run, many, quick)
        room.close()
    return figures


def moto(quick: bool) -> dict[str, float]:
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

    backend = StepFunctionsParserBackend("us-east-1", "111111111111")
    role = "arn:aws:iam::111111111111:role/moto"
    arns = {
        name: backend.create_state_machine(name, json.dumps(document), role).arn
        for name, document in (("three", THREE), ("map", MAP))
    }
    count = 0

    def start(workflow: str, input: str) -> object:
        nonlocal count
        count += 1
        return backend.start_execution(arns[workflow], f"n{count}", input, "")

    def wait(execution: object) -> None:
        while getattr(execution, "exec_status", None) in (None, "RUNNING"):
            time.sleep(0.0002)

    def many(number: int) -> None:
        for first in range(0, number, 32):
            for execution in [start("three", "{}") for _ in range(min(32, number - first))]:
                wait(execution)

    return measured(lambda workflow, input: wait(start(workflow, input)), many, quick)


def measured(run: Callable[[str, str], None], many: Callable[[int], None], quick: bool) -> dict[str, float]:
    run("three", "{}")
    single = []
    for _ in range(50 if quick else 500):
        began = time.perf_counter()
        run("three", "{}")
        single.append(time.perf_counter() - began)
    count = 200 if quick else 2000
    began = time.perf_counter()
    many(count)
    at_once_s = time.perf_counter() - began
    maps = []
    for _ in range(1 if quick else 5):
        began = time.perf_counter()
        run("map", ITEMS)
        maps.append(time.perf_counter() - began)
    single.sort()
    return {
        "p50_ms": median(single) * 1000,
        "p99_ms": single[int(len(single) * 0.99)] * 1000,
        "states_per_s": count * 3 / at_once_s,
        "map_ms": median(maps) * 1000,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def import_ms(module: str) -> float:
    """How long importing takes in a new process: the median of five, of which the first may have to compile."""
    timed = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    taken = [
        float(subprocess.run([sys.executable, "-c", timed], stdout=subprocess.PIPE, check=True, text=True).stdout)
        for _ in range(5)
    ]
    return 1000 * median(taken)


def goals(figures: dict[str, dict[str, float]]) -> list[str]:
    """What was to be reached, and whether it was."""
    ours, theirs = figures["headgate"], figures["moto"]
    asked = [
        (
            "at least as many transitions a second, while durable",
            ours["states_per_s"] >= theirs["states_per_s"],
        ),
        ("an execution of 3 states at least as fast as with moto (p50)", ours["p50_ms"] <= theirs["p50_ms"]),
        ("a Map of 1,000 items at least as fast as with moto", ours["map_ms"] <= theirs["map_ms"]),
        (f"imported in less than {IMPORT_GOAL_MS} ms", ours["import_ms"] < IMPORT_GOAL_MS),
    ]
    return [f"- {what}: **{'met' if is_met else 'not met'}**" for what, is_met in asked]


def page(figures: dict[str, dict[str, float]]) -> str:
    rows = [
        ("an execution of 3 states, p50", "p50_ms", "ms"),
        ("an execution of 3 states, p99", "p99_ms", "ms"),
        ("transitions, with 32 executions at a time", "states_per_s", "a second"),
        ("a Map of 1,000 items", "map_ms", "ms"),
        ("import", "import_ms", "ms"),
        ("memory", "memory_mb", "MB"),
    ]
    lines = [
        "# Workflows, measured",
        "",
        f"`benchmarks/workflows.py` on {platform.machine()}, Python {platform.python_version()}. headgate writes every",
        "transition to disk and waits for it; moto's interpreter, the best known local one, keeps nothing.",
        "",
        "| | headgate, durable | moto, in memory |",
        "|---|---:|---:|",
    ]
    for name, key, unit in rows:
        ours, theirs = figures["headgate"][key], figures["moto"][key]
        digits = 1 if ours < 100 else 0
        lines.append(f"| {name} | {ours:,.{digits}f} {unit} | {theirs:,.{digits}f} {unit} |")
    return "\n".join([*lines, "", "Goals:", "", *goals(figures)]) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--only", choices=("headgate", "moto"), help="measure one in this process, and print JSON")
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps((headgate if chosen.only == "headgate" else moto)(chosen.quick)))
        return
    figures = {}
    for name in ("headgate", "moto"):
        command = [sys.executable, __file__, "--only", name, *(["--quick"] if chosen.quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        figures[name] = {"import_ms": import_ms(MODULES[name]), **json.loads(done.stdout.splitlines()[-1])}
    told = page(figures)
    print(told)
    if not chosen.quick:
        PAGE.write_text(told)


if __name__ == "__main__":
    main()
