"""Workflows as diagrams."""

from __future__ import annotations

from headgate import workflow as w
from headgate.declare.compile import machine
from headgate.describe.mermaid import mermaid


def test_a_workflow_is_drawn_with_what_each_way_depends_on() -> None:
    step = w.chain(
        w.task("collect", catch=[w.catch("Busy", then=w.fail("Gave;up"))]),
        w.choice(w.when(w.value("$.n") > 3, w.wait(1)), otherwise=w.for_each("$.items", w.task("settle"))),
    )
    assert mermaid(machine(step), {"collect": "succeeded", "wait": "failed", "absent": "running"}) == (
        "stateDiagram-v2\n"
        '    state "collect" as s1\n'
        '    state "fail" as s2\n'
        '    state "choose" as s3\n'
        '    state "wait" as s4\n'
        '    state "for each" as s5\n'
        "    state s5 {\n"
        '        state "settle" as s6\n'
        "        [*] --> s6\n"
        "        s6 --> [*]\n"
        "    }\n"
        "    [*] --> s1\n"
        "    s1 --> s3\n"
        "    s1 --> s2 : on Busy\n"
        "    s2 --> [*] : Gave#59;up\n"
        "    s3 --> s4 : $.n #62; 3\n"
        "    s3 --> s5 : else\n"
        "    s4 --> [*]\n"
        "    s5 --> [*]\n"
        "    classDef failed fill:#fbd5d5,stroke:#c62828\n"
        "    class s4 failed\n"
        "    classDef succeeded fill:#d6f5d6,stroke:#2e7d32\n"
        "    class s1 succeeded\n"
    )


def test_branches_stand_side_by_side() -> None:
    drawn = mermaid(machine(w.parallel(w.task("a"), w.task("b"))))
    assert "        s2 --> [*]\n    --\n" in drawn
