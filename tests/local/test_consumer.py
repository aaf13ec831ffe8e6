"""Consumers in processes of their own, on a real server: they hang and die, and nobody else waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.test_worker import Site
from tests.serving import PATIENCE_S, kill


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.served.process.poll() is None:
        kill(site.served)


def send(site: Site, *ids: str, **more: Any) -> None:
    for id_ in ids:
        site.send(id_, channel="/events", **more)


def test_each_consumer_is_handed_every_record(site: Site) -> None:
    ids = [str(n) for n in range(40)]
    for id_ in ids:
        send(site, id_, line=id_)
    site.until(*(f"totals {id_} 1" for id_ in ids), *(f"mail {id_}" for id_ in ids))
    assert len(site.effects()) == 2 * len(ids)


@pytest.mark.parametrize("what", ["die", "hang"])
def test_a_record_that_ends_its_process_is_a_dead_letter_and_those_behind_it_go_on(site: Site, what: str) -> None:
    send(site, "1", line="x")
    send(site, "bad", line="x", do=what)
    send(site, "2", "3", line="x")
    site.until(*(f"mail {id_}" for id_ in ("1", "bad", "2", "3")))
    hung = 0

    def all_were_handed_over() -> bool:
        nonlocal hung
        if what == "hang" and (at := len(attempts(site))) > hung:
            hung = at
            site.run_out_of_time()
        return {line.split()[1] for line in site.effects() if line.startswith("totals")} == {"1", "bad", "2", "3"}

    site.sees(all_were_handed_over)
    assert attempts(site)[-1] == "totals bad 2", "as often as declared, whatever lists it was in before"


def attempts(site: Site) -> list[str]:
    return [line for line in site.effects() if line.startswith("totals bad")]


def test_what_is_done_is_not_done_again_when_the_server_is_started_again(site: Site) -> None:
    send(site, "1", "2", line="x")
    site.until("totals 2 1", "mail 2")
    site.served.process.terminate()
    assert site.served.process.wait(PATIENCE_S) == 0
    site.start()
    send(site, "3", line="x")
    site.until("totals 3 1", "mail 3")
    assert sorted(site.effects()) == ["mail 1", "mail 2", "mail 3", "totals 1 1", "totals 2 1", "totals 3 1"]
