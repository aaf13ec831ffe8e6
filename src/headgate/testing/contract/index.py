"""What every index has to do: once, durable, apart, and gone when expired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from headgate import limits
from headgate.engine import Index, Outcome, Page
from headgate.message import Message
from headgate.testing.contract import EngineUnderTest

AWKWARD_KEYS = (
    "a/b",
    "100%",
    "%2F",
    "..",
    'it\'s "quoted"; DROP TABLE message; --',
    "with space",
    " ",
    "*?[a-z]",
    "back\\slash",
    "ключ",
    "e\u0301",
    "\u00e9",
    "\U0001f6b0",
    "A",
    "a",
    "0",
    "00",
    "k" * 255,
    "k" * 254,
    "é" * 127,
)

# A body, another spelling of it, and whether that is the same body.
SPELLINGS = (
    ('{"a":1,"b":2}', ' {"b" : 2,\n\t"a":1} ', True),
    ('{"a":{"x":1,"y":[1,2]}}', '{"a":{"y":[1, 2],"x":1}}', True),
    ('{"a":"é"}', '{"a":"\\u00e9"}', True),
    ('{"a":"/"}', '{"a":"\\/"}', True),
    ('{"a":2.10}', '{"a":2.1}', False),
    ('{"a":1}', '{"a":1.0}', False),
    ('{"a":1e2}', '{"a":100}', False),
    ('{"a":0}', '{"a":-0}', False),
    ('{"a":12345678901234567890}', '{"a":12345678901234567891}', False),
    ('{"a":1}', '{"a":"1"}', False),
    ('{"a":1}', '{"a":true}', False),
    ('{"a":0}', '{"a":false}', False),
    ('{"a":null}', "{}", False),
    ('{"a":[1,2]}', '{"a":[2,1]}', False),
    ('"e\u0301"', '"\u00e9"', False),
    ("null", '"null"', False),
)


def message(
    key: str,
    body: str = '{"n":1}',
    *,
    channel: str = "orders",
    scope: str = "",
    received_ms: int = 1_767_225_600_000,
    expires_ms: int | None = None,
    fields: Sequence[tuple[str, str]] = (),
) -> Message:
    """A message as the gate would hand it over."""
    return Message(
        channel, scope, key, body.encode(), received_ms, "alice", f"request-of-{key[:9]}", "", "processed", expires_ms,
        tuple(fields),
    )  # fmt: skip


def store(index: Index, *messages: Message) -> None:
    """Commit messages that must be new."""
    assert kinds(index.commit(messages)) == ["stored"] * len(messages)


def kinds(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.kind for outcome in outcomes]


def keys_of(page: Page) -> list[str]:
    return [found.key for found in page.messages]


def at_once(count: int, call: Callable[[int], list[Outcome]]) -> list[Outcome]:
    """`call(0)` … `call(count - 1)`, each in a thread of its own, all let go at the same moment."""
    barrier = Barrier(count)

    def wait_and_call(number: int) -> list[Outcome]:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(count) as threads:
        return [outcome for outcomes in threads.map(wait_and_call, range(count)) for outcome in outcomes]


class IndexCases:
    """Adopt by subclassing and giving the fixture `engine`."""

    @pytest.fixture
    def engine(self) -> EngineUnderTest:
        raise NotImplementedError("give a fixture `engine` in the class that adopts these cases")

    # ------------------------------------------------------------------------------------------------------- storing

    def test_a_new_message_is_stored_and_found(self, engine: EngineUnderTest) -> None:
        sent = message("1", received_ms=1_700_000_000_123)
        (outcome,) = engine.index.commit([sent])
        assert outcome.kind == "stored"
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found._replace(fields=()) == sent

    def test_what_was_never_stored_is_not_found(self, engine: EngineUnderTest) -> None:
        assert engine.index.get("orders", "", "1") is None
        assert engine.index.get("nowhere", "", "1") is None
        assert engine.index.find("orders", None, None, None, 10, None) == Page([], None)
        assert engine.index.find("nowhere", None, None, None, 10, None) == Page([], None)

    def test_the_same_message_again_is_replayed_with_the_facts_of_the_first(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1", received_ms=1_000))
        for _ in range(3):
            (outcome,) = engine.index.commit([message("1", received_ms=2_000)])
            assert outcome.kind == "replayed"
            assert outcome.message is not None
            assert outcome.message.received_ms == 1_000
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["1"]

    def test_another_body_is_in_conflict_and_the_first_stands_untouched(self, engine: EngineUnderTest) -> None:
        first = message("1", '{"n":1}')
        store(engine.index, first)
        (outcome,) = engine.index.commit([message("1", '{"n":2}', fields=[("n", "2")])])
        assert outcome.kind == "conflict"
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found.body == first.body
        assert keys_of(engine.index.find("orders", None, "n", "2", 10, None)) == []

    @pytest.mark.parametrize(("first", "then", "same"), SPELLINGS)
    def test_the_same_body_is_the_same_json_with_numbers_by_their_text(
        self, engine: EngineUnderTest, first: str, then: str, same: bool
    ) -> None:
        store(engine.index, message("1", first))
        assert kinds(engine.index.commit([message("1", then)])) == ["replayed" if same else "conflict"]
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found.body == first.encode()

    @pytest.mark.parametrize(
        "body",
        [
            '{"a": true, "b":2.10,"c":12345678901234567890 , "d":"\U0001f6b0 &+%","e":[ ]}',
            "null",
            '""',
            "-0.0e-0",
            '"\\u0000"',
            '"' + "x" * 500_000 + '"',
        ],
        ids=["mixed", "null", "empty text", "minus zero", "escaped NUL", "half a megabyte"],
    )
    def test_bytes_come_back_as_they_went_in(self, engine: EngineUnderTest, body: str) -> None:
        store(engine.index, message("1", body))
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found.body == body.encode()

    def test_every_fact_comes_back(self, engine: EngineUnderTest) -> None:
        sent = Message(
            "orders", "bob", "1", b"1", 1, "bob", "r-1", f"00-{'a' * 32}-{'b' * 16}-01", "processed", 4_000_000_000_000,
            (), "why",
        )  # fmt: skip
        store(engine.index, sent)
        assert engine.index.get("orders", "bob", "1") == sent

    def test_awkward_keys_stay_apart_and_come_back(self, engine: EngineUnderTest) -> None:
        store(engine.index, *(message(key, f'{{"n":{n}}}') for n, key in enumerate(AWKWARD_KEYS)))
        for n, key in enumerate(AWKWARD_KEYS):
            found = engine.index.get("orders", "", key)
            assert found is not None
            assert (found.key, found.body) == (key, f'{{"n":{n}}}'.encode())

    def test_channels_and_scopes_are_apart(self, engine: EngineUnderTest) -> None:
        places = [("orders", ""), ("orders", "alice"), ("orders", "bob"), ("events", ""), ("events", "alice")]
        store(engine.index, *(message("1", str(n), channel=c, scope=s) for n, (c, s) in enumerate(places)))
        for n, (channel, scope) in enumerate(places):
            found = engine.index.get(channel, scope, "1")
            assert found is not None
            assert found.body == str(n).encode()
        assert engine.index.get("orders", "carol", "1") is None

    def test_a_scope_and_a_key_cannot_be_written_so_that_they_name_another(self, engine: EngineUnderTest) -> None:
        stored = [("a\0a", "b"), ("c/c", "d"), ("e:e", "f"), ("", "1:g"), ("gh", "i")]
        store(engine.index, *(message(key, scope=scope) for scope, key in stored))
        for scope, key in stored:
            for text in (f"{scope}{joint}{key}" for joint in ("", "\0", "/", ":")):
                places = {(text[:cut], text[cut + gap :]) for cut in range(len(text)) for gap in (0, 1)}
                for place in places - set(stored):
                    assert engine.index.get("orders", *place) is None

    # ------------------------------------------------------------------------------------------------ several at once

    def test_outcomes_stand_in_the_order_of_the_messages(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("old"), message("taken"))
        outcomes = engine.index.commit([message("new"), message("old"), message("taken", "2"), message("newer")])
        assert kinds(outcomes) == ["stored", "replayed", "conflict", "stored"]

    def test_nothing_is_an_empty_commit(self, engine: EngineUnderTest) -> None:
        assert engine.index.commit([]) == []
        assert engine.index.commit([], whole=True) == []

    def test_of_twins_in_one_call_the_first_decides(self, engine: EngineUnderTest) -> None:
        outcomes = engine.index.commit([message("1", "1"), message("1", "1"), message("1", "2"), message("1", " 1")])
        assert kinds(outcomes) == ["stored", "replayed", "conflict", "replayed"]
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["1"]

    def test_a_thousand_in_one_call(self, engine: EngineUnderTest) -> None:
        store(engine.index, *(message(str(n), str(n)) for n in range(1_000)))
        found = engine.index.get("orders", "", "777")
        assert found is not None
        assert found.body == b"777"
        again = engine.index.commit([message(str(n), str(n)) for n in range(1_000)])
        assert kinds(again) == ["replayed"] * 1_000

    def test_whole_stores_all(self, engine: EngineUnderTest) -> None:
        outcomes = engine.index.commit([message(key) for key in "abc"], whole=True)
        assert kinds(outcomes) == ["stored"] * 3
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["c", "b", "a"]

    def test_whole_stores_none_when_one_in_the_middle_is_in_conflict(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("b", "1"))
        outcomes = engine.index.commit([message("a"), message("b", "2"), message("c", fields=[("n", "1")])], whole=True)
        assert kinds(outcomes) == ["untouched", "conflict", "untouched"]
        assert engine.index.get("orders", "", "a") is None
        assert engine.index.get("orders", "", "c") is None
        assert keys_of(engine.index.find("orders", None, "n", "1", 10, None)) == []
        assert kinds(engine.index.commit([message("a", "9"), message("c", "9")])) == ["stored", "stored"]

    def test_whole_stores_none_when_it_contradicts_itself(self, engine: EngineUnderTest) -> None:
        outcomes = engine.index.commit([message("a", "1"), message("a", "2")], whole=True)
        assert kinds(outcomes) == ["untouched", "conflict"]
        assert engine.index.get("orders", "", "a") is None

    def test_whole_takes_replays_among_new_ones(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("b"))
        outcomes = engine.index.commit([message("a"), message("b"), message("c"), message("a")], whole=True)
        assert kinds(outcomes) == ["stored", "replayed", "stored", "replayed"]
        again = engine.index.commit([message("a"), message("b"), message("c")], whole=True)
        assert kinds(again) == ["replayed"] * 3

    # ------------------------------------------------------------------------------------------------ at the same time

    def test_a_page_ends_where_it_gets_too_large(self, engine: EngineUnderTest) -> None:
        body = '"' + "x" * (limits.PAGE_BYTES.value // 2) + '"'
        for key in "1234":
            engine.index.commit([message(key, body)])
        first = engine.index.find("orders", None, None, None, 10, None)
        assert [found.key for found in first.messages] == ["4", "3"]
        second = engine.index.find("orders", None, None, None, 10, first.next)
        assert [found.key for found in second.messages] == ["2", "1"]
        assert second.next is None

    def test_of_64_twins_at_the_same_time_one_is_stored(self, engine: EngineUnderTest) -> None:
        for round_ in range(5):
            outcomes = at_once(64, lambda _, key=f"k{round_}": engine.index.commit([message(key)]))  # type: ignore[misc]
            assert sorted(kinds(outcomes)) == ["replayed"] * 63 + ["stored"]
        assert len(engine.index.find("orders", None, None, None, 10, None).messages) == 5

    def test_of_64_with_one_different_body_one_wins_and_all_others_see_it(self, engine: EngineUnderTest) -> None:
        for round_ in range(5):
            key = f"k{round_}"

            def call(number: int, key: str = key) -> list[Outcome]:
                return engine.index.commit([message(key, "2" if number == 31 else "1")])

            outcomes = at_once(64, call)
            held = engine.index.get("orders", "", key)
            assert held is not None
            assert kinds(outcomes).count("stored") == 1
            assert all(outcome.message for outcome in outcomes if outcome.kind != "stored")
            conflicts = [n for n, outcome in enumerate(outcomes) if outcome.kind == "conflict"]
            assert conflicts == ([31] if held.body == b"1" else [n for n in range(64) if n != 31])

    def test_crossing_batches_at_the_same_time_store_each_key_once(self, engine: EngineUnderTest) -> None:
        keys = [str(n) for n in range(20)]

        def call(number: int) -> list[Outcome]:
            order = keys if number % 2 else keys[::-1]
            return engine.index.commit([message(key) for key in order], whole=number % 4 < 2)

        outcomes = at_once(16, call)
        assert kinds(outcomes).count("stored") == 20
        assert sorted(keys_of(engine.index.find("orders", None, None, None, 50, None))) == sorted(keys)

    # --------------------------------------------------------------------------------------------------------- expiry

    def test_an_expired_message_is_absent_at_once(self, engine: EngineUnderTest) -> None:
        expires_ms = engine.clock.now_ms() + 60_000
        store(engine.index, message("1", expires_ms=expires_ms, fields=[("n", "1")]), message("2"))
        engine.clock.advance(59.999)
        assert engine.index.get("orders", "", "1") is not None
        assert keys_of(engine.index.find("orders", None, "n", "1", 10, None)) == ["1"]
        engine.clock.advance(0.001)
        assert engine.index.get("orders", "", "1") is None
        assert keys_of(engine.index.find("orders", None, "n", "1", 10, None)) == []
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["2"]
        assert engine.index.delete("orders", "", "1") is False

    def test_an_expired_key_is_free_for_another_body(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1", "1", expires_ms=engine.clock.now_ms() + 1_000, fields=[("n", "old")]))
        engine.clock.advance(1)
        store(engine.index, message("1", "2", expires_ms=engine.clock.now_ms() + 1_000, fields=[("n", "new")]))
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found.body == b"2"
        assert kinds(engine.index.commit([message("1", "2")])) == ["replayed"]
        assert kinds(engine.index.commit([message("1", "1")])) == ["conflict"]
        assert keys_of(engine.index.find("orders", None, "n", "old", 10, None)) == []
        assert keys_of(engine.index.find("orders", None, "n", "new", 10, None)) == ["1"]

    def test_of_64_that_take_an_expired_key_one_wins(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1", "1", expires_ms=engine.clock.now_ms() + 1_000))
        engine.clock.advance(1)
        outcomes = at_once(64, lambda _: engine.index.commit([message("1", "2")]))
        assert sorted(kinds(outcomes)) == ["replayed"] * 63 + ["stored"]

    def test_a_whole_commit_that_fails_leaves_an_expired_key_free(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1", "1", expires_ms=engine.clock.now_ms() + 1_000), message("2", "1"))
        engine.clock.advance(1)
        outcomes = engine.index.commit([message("1", "2"), message("2", "2")], whole=True)
        assert kinds(outcomes) == ["untouched", "conflict"]
        assert engine.index.get("orders", "", "1") is None
        store(engine.index, message("1", "3"))

    # -------------------------------------------------------------------------------------------------------- finding

    def test_find_by_field_newest_first(self, engine: EngineUnderTest) -> None:
        for n in range(6):
            store(engine.index, message(str(n), fields=[("company", "x" if n % 2 else "y"), ("n", str(n))]))
        assert keys_of(engine.index.find("orders", None, "company", "x", 10, None)) == ["5", "3", "1"]
        assert keys_of(engine.index.find("orders", None, "n", "4", 10, None)) == ["4"]
        assert keys_of(engine.index.find("orders", None, "company", "z", 10, None)) == []
        assert keys_of(engine.index.find("orders", None, "n", "x", 10, None)) == []
        assert keys_of(engine.index.find("events", None, "company", "x", 10, None)) == []

    def test_values_are_compared_whole_and_exactly(self, engine: EngineUnderTest) -> None:
        values = ["a", "A", "a ", "aa", "%", "_", "'", "1", "1.0", "", "\U0001f6b0", "x" * 1024]
        store(engine.index, *(message(str(n), fields=[("v", value)]) for n, value in enumerate(values)))
        for n, value in enumerate(values):
            assert keys_of(engine.index.find("orders", None, "v", value, 10, None)) == [str(n)]

    @pytest.mark.parametrize("field", [None, "company"])
    def test_pages_hold_everything_once(self, engine: EngineUnderTest, field: str | None) -> None:
        keys = [str(n) for n in range(25)]
        store(engine.index, *(message(key, fields=[("company", "x")]) for key in keys))
        pages = [engine.index.find("orders", None, field, field and "x", 10, None)]
        while pages[-1].next is not None and len(pages) < 9:
            pages.append(engine.index.find("orders", None, field, field and "x", 10, pages[-1].next))
        assert [len(page.messages) for page in pages] == [10, 10, 5]
        assert [key for page in pages for key in keys_of(page)] == keys[::-1]

    def test_a_last_page_that_is_full_names_no_next(self, engine: EngineUnderTest) -> None:
        store(engine.index, *(message(key) for key in "abcd"))
        first = engine.index.find("orders", None, None, None, 2, None)
        assert first.next is not None
        assert engine.index.find("orders", None, None, None, 2, first.next).next is None

    def test_pages_are_stable_while_messages_come_and_go(self, engine: EngineUnderTest) -> None:
        store(engine.index, *(message(str(n), fields=[("company", "x")]) for n in range(10)))
        first = engine.index.find("orders", None, "company", "x", 4, None)
        assert keys_of(first) == ["9", "8", "7", "6"]
        store(engine.index, *(message(str(n), fields=[("company", "x")]) for n in range(10, 20)))
        assert engine.index.delete("orders", "", "6")
        assert engine.index.delete("orders", "", "4")
        second = engine.index.find("orders", None, "company", "x", 4, first.next)
        assert keys_of(second) == ["5", "3", "2", "1"]
        assert keys_of(engine.index.find("orders", None, "company", "x", 4, second.next)) == ["0"]

    def test_a_search_stays_within_its_scope(self, engine: EngineUnderTest) -> None:
        fields = [("company", "x")]
        store(engine.index, *(message(f"{s}{n}", scope=s, fields=fields) for n in range(3) for s in ("alice", "bob")))
        assert keys_of(engine.index.find("orders", "bob", "company", "x", 10, None)) == ["bob2", "bob1", "bob0"]
        assert keys_of(engine.index.find("orders", "bob", None, None, 10, None)) == ["bob2", "bob1", "bob0"]
        assert keys_of(engine.index.find("orders", "", None, None, 10, None)) == []
        assert len(engine.index.find("orders", None, "company", "x", 10, None).messages) == 6
        first = engine.index.find("orders", "alice", None, None, 2, None)
        assert keys_of(engine.index.find("orders", "alice", None, None, 2, first.next)) == ["alice0"]

    @pytest.mark.parametrize(
        "after", ["", "x", "-1", "1.5", " 1", "\u0661", "9" * 19, "9" * 40, "\0", "0; DROP TABLE message"]
    )
    def test_a_place_that_no_page_gave_is_refused(self, engine: EngineUnderTest, after: str) -> None:
        store(engine.index, message("1"))
        with pytest.raises(ValueError):  # noqa: PT011 - the text is up to the engine
            engine.index.find("orders", None, None, None, 10, after)

    # ------------------------------------------------------------------------------------------------------- deleting

    def test_a_deleted_message_is_gone_and_its_key_free(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1", "1", fields=[("n", "1")]), message("2"))
        assert engine.index.delete("orders", "", "1") is True
        assert engine.index.get("orders", "", "1") is None
        assert keys_of(engine.index.find("orders", None, "n", "1", 10, None)) == []
        assert engine.index.delete("orders", "", "1") is False
        store(engine.index, message("1", "2"))
        found = engine.index.get("orders", "", "1")
        assert found is not None
        assert found.body == b"2"

    def test_delete_takes_the_one_message_only(self, engine: EngineUnderTest) -> None:
        store(engine.index, message("1"), message("1", scope="bob"), message("1", channel="events"))
        assert engine.index.delete("orders", "alice", "1") is False
        assert engine.index.delete("nowhere", "", "1") is False
        assert engine.index.delete("orders", "", "1") is True
        assert engine.index.get("orders", "bob", "1") is not None
        assert engine.index.get("events", "", "1") is not None

    # ------------------------------------------------------------------------------------------------------- failures

    def test_one_that_cannot_be_written_is_unavailable_and_harms_no_other(self, engine: EngineUnderTest) -> None:
        impossible = message("half a pair: \ud83d")
        assert kinds(engine.index.commit([impossible])) == ["unavailable"]
        store(engine.index, message("1"), message("2"))
        assert keys_of(engine.index.find("orders", None, None, None, 10, None)) == ["2", "1"]
