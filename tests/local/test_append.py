"""What comes together is written in few statements: in order, each message with its own envelope."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.clock import ManualClock
from headgate.message import Message
from headgate.testing.contract.index import kinds, message
from tests.local.store import Store, all_keys, opened


def of_request(n: int, count: int) -> list[Message]:
    """The messages of one request, whose envelope is told apart by `n` in every place."""
    return [
        message(f"{n}.{place}", f'"{n}.{place}"', received_ms=n, scope=f"s{n % 3}")._replace(
            principal=f"p{n}", request_id=f"r{n}", traceparent=f"t{n}", expires_ms=None if n % 2 else 2**50 + n
        )
        for place in range(count)
    ]


@pytest.mark.parametrize(
    "counts",
    [(1,), (3,), (1024,), (1025,), (700, 1, 700, 1, 700), (1,) * 1100],
    ids=["one", "few", "whole", "whole-and-one", "several", "singles"],
)
def test_each_message_is_stored_with_what_its_request_had(
    tmp_path: Path, clock: ManualClock, counts: tuple[int, ...]
) -> None:
    sent = [one for n, count in enumerate(counts) for one in of_request(n, count)]
    with opened(tmp_path, clock, turn=100_000) as store:
        assert set(kinds(store.index.commit(sent))) == {"stored"}
        assert all_keys(store.index) == [one.key for one in sent][::-1]
        assert store.rows("message") == len(sent)
        for one in (*sent[:5], *sent[-5:], *sent[:: len(sent) // 10 + 1]):
            assert store.index.get(one.channel, one.scope, one.key) == one


def test_envelopes_of_earlier_groups_are_forgotten(tmp_path: Path, clock: ManualClock) -> None:
    with opened(tmp_path, clock) as store:
        for n in range(6):
            sent = [*of_request(n, 2), *of_request(n + 10, 1)]
            store.index.commit(sent)
            assert [store.index.get(one.channel, one.scope, one.key) for one in sent] == sent


def test_merging_keeps_up_with_groups_that_are_larger_than_a_slice(tmp_path: Path, clock: ManualClock) -> None:
    store = Store(tmp_path, clock, turn=300, slice_=10)
    for n in range(60):
        store.index.commit(of_request(n, 100))
    assert store.rows("claim") > 60 * 100 - 3 * 300
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
