"""What a summary says of many messages."""

from __future__ import annotations

from collections import Counter

from headgate.testing.sender import Tally


def test_outcomes_are_told_in_one_order_whichever_came_first() -> None:
    tally = Tally(Counter({"unanswered": 1, "refused": 2, "stored": 3, "replayed": 0}))
    assert list(tally.summary()["outcomes"].items()) == [("stored", 3), ("refused", 2), ("unanswered", 1)]
