"""The index against a dict: whatever is stored, deleted, expired and reopened, both say the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headgate.clock import ManualClock
from headgate.testing.contract.index import kinds, message
from tests.local.store import Store, all_keys

PLACES = [(scope, key) for scope in ("", "bob") for key in ("1", "2", "3", "12", "é", "4/5")]
MESSAGES = st.tuples(
    st.sampled_from(PLACES), st.sampled_from(["1", "2"]), st.sampled_from([None, -1, 1, 5]), st.sampled_from(["x", "y"])
)


class Kept(NamedTuple):
    """What the dict knows of a stored message; `number` says in which order they came."""

    body: str
    expires_ms: int | None
    value: str
    number: int


class IndexAndDict(RuleBasedStateMachine):
    """Rules do the same to both; the invariant compares all that can be read."""

    @initialize(turn=st.integers(1, 6), slice_=st.integers(1, 3))
    def open(self, turn: int, slice_: int) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folders = 0
        self.clock = ManualClock()
        self.store = Store(self._new_folder(), self.clock, turn=turn, slice_=slice_)
        self.kept: dict[tuple[str, str], Kept] = {}
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)

    @rule(sent=st.lists(MESSAGES, min_size=1, max_size=6), whole=st.booleans())
    def commit(self, sent: Sequence[tuple[tuple[str, str], str, int | None, str]], whole: bool) -> None:
        now_ms = self.clock.now_ms()
        messages = [
            message(
                key,
                body,
                scope=scope,
                expires_ms=None if keep_s is None else now_ms + keep_s * 1000,
                fields=[("f", value)],
            )
            for (scope, key), body, keep_s, value in sent
        ]
        new: dict[tuple[str, str], Kept] = {}
        expected = []
        for one, (place, body, _, value) in zip(messages, sent, strict=True):
            held = new.get(place) or self.kept.get(place)
            if held is not None and not self._expired(held):
                expected.append("replayed" if held.body == body else "conflict")
                continue
            self.number += 1
            # One that arrives expired may be followed by another in the same call, which then takes its place.
            number = new[place].number if place in new else self.number
            new[place] = Kept(body, one.expires_ms, value, number)
            expected.append("stored")
        if whole and "conflict" in expected:
            expected = ["untouched" if kind == "stored" else kind for kind in expected]
        else:
            self.kept |= new
        assert kinds(self.store.index.commit(messages, whole=whole)) == expected

    @rule(place=st.sampled_from(PLACES))
    def delete(self, place: tuple[str, str]) -> None:
        held = self.kept.pop(place, None)
        assert self.store.index.delete("orders", *place) == (held is not None and not self._expired(held))

    @rule(seconds=st.sampled_from([1, 3]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.store.index.sweep()
        self.kept = {place: held for place, held in self.kept.items() if not self._expired(held)}
        assert self.store.rows("message") == len(self.kept)

    @rule()
    def reopen(self) -> None:
        self.store = self.store.reopened()

    @precondition(lambda self: self.folders < 8)
    @rule()
    def crash(self) -> None:
        crashed, self.store = self.store, self.store.as_after_a_crash(self._new_folder(make=False))
        crashed.close()

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        valid = {place: held for place, held in self.kept.items() if not self._expired(held)}
        for scope, key in PLACES:
            found = self.store.index.get("orders", scope, key)
            held = valid.get((scope, key))
            assert (found and (found.body, found.expires_ms)) == (held and (held.body.encode(), held.expires_ms))
        newest_first = sorted(valid.items(), key=lambda item: -item[1].number)
        assert all_keys(self.store.index) == [key for (_, key), _ in newest_first]
        assert all_keys(self.store.index, scope="bob") == [key for (scope, key), _ in newest_first if scope == "bob"]
        page = self.store.index.find("orders", None, "f", "x", 100, None)
        assert [one.key for one in page.messages] == [key for (_, key), held in newest_first if held.value == "x"]

    def _expired(self, held: Kept) -> bool:
        return held.expires_ms is not None and held.expires_ms <= self.clock.now_ms()

    def _new_folder(self, *, make: bool = True) -> Path:
        self.folders += 1
        folder = self.root / str(self.folders)
        if make:
            folder.mkdir()
        return folder


TestIndexAndDict = IndexAndDict.TestCase
TestIndexAndDict.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
