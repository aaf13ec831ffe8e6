"""The one strict JSON loader, and when two bodies are the same body."""

from __future__ import annotations

import pytest

from headgate.errors import FieldFault, Invalid, Malformed, TooLarge
from headgate.message import Item, digest, key_fault, load, load_many

REFUSED = [
    (b"", "empty_body"),
    (b" \r\n\t", "empty_body"),
    (b"{", "malformed"),
    (b"{'a': 1}", "malformed"),
    (b'{"a": 1,}', "malformed"),
    (b'{"a": NaN}', "malformed"),
    (b"[Infinity]", "malformed"),
    (b"-Infinity", "malformed"),
    (b"01", "malformed"),
    (b"1.", "malformed"),
    (b"+1", "malformed"),
    (b"// a\n1", "malformed"),
    (b"1 2", "malformed"),
    (b"\xef\xbb\xbf1", "malformed"),
    (b'"\xff"', "malformed"),
    (b'"\xc0\xaf"', "malformed"),
    (b'"\xed\xa0\x80"', "malformed"),
    (b'"\\ud800"', "malformed"),
    (b'{"\\udc00": 1}', "malformed"),
    (b'"\\ud800\\u0041"', "malformed"),
    (b'"a\nb"', "malformed"),
    ('{"a": 1}'.encode("utf-16"), "malformed"),
    (b'{"a": 1, "a": 1}', "duplicate_key"),
    (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
    (b'[{"b": {"a": 1, "a": 2}}]', "duplicate_key"),
    (b"[" * 65 + b"]" * 65, "too_deep"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep"),
    (b"[" * 100_000, "too_deep"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED, ids=[repr(body[:24]) for body, _ in REFUSED])
def test_what_is_not_strict_json_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        load(body)
    assert caught.value.reason == reason
    assert caught.value.faults[0].pointer == ""


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 64 + b"]" * 64,
        b'["' + b"[{" * 500 + b'"]',
        b'["\\\\", "' + b"[" * 100 + b'", "\\"' + b"{" * 100 + b'"]',
        b'"\\ud83d\\ude00"',
        b'"\\\\ud800"',
        b"123456789012345678901234567890",
        b"null",
    ],
)
def test_what_is_strict_json_is_kept_to_the_byte(body: bytes) -> None:
    assert load(b" " + body + b"\n").raw == body


def test_the_sentence_says_where() -> None:
    with pytest.raises(Malformed, match="line 2, column 6"):
        load(b'{"a": 1,\n "b" 2}')


def test_an_array_is_cut_into_the_senders_own_bytes() -> None:
    items = load_many(b' [ {"a": 2.10} , "]," ,[1, 2],\n-0 ] ', 10)
    assert [item.raw for item in items if isinstance(item, Item)] == [b'{"a": 2.10}', b'"],"', b"[1, 2]", b"-0"]


def test_a_bad_item_is_told_and_the_others_are_read() -> None:
    deep = b"[" * 65 + b"]" * 65
    items = load_many(b'[1, {"a": 1, "a": 2}, ' + deep + b', "\xff", 2]', 10)
    assert [item.type if isinstance(item, FieldFault) else item.raw for item in items] == [
        b"1",
        "duplicate_key",
        "too_deep",
        "malformed",
        b"2",
    ]


def test_many_flat_items_do_not_hide_a_deep_one() -> None:
    deep = b'{"x":' + b"[" * 150 + b"]" * 150 + b"}"
    items = load_many(b"[" + b"1," * 200 + deep + b"]", 1000)
    assert isinstance(items[-1], FieldFault)
    assert items[-1].type == "too_deep"


@pytest.mark.parametrize("body", [b"{}", b"1", b'"[1]"', b"null", b"[]", b" [ ] "])
def test_a_batch_is_an_array_with_something_in_it(body: bytes) -> None:
    with pytest.raises(Invalid):
        load_many(body, 10)


@pytest.mark.parametrize("body", [b"[1", b"[1,]", b"[,1]", b"[1 2]", b"[1]]", b"[1] 2", b"[", b""])
def test_a_broken_array_is_malformed_as_a_whole(body: bytes) -> None:
    with pytest.raises(Malformed):
        load_many(body, 10)


def test_more_items_than_allowed_are_too_many() -> None:
    assert len(load_many(b"[1,2,3]", 3)) == 3
    with pytest.raises(TooLarge):
        load_many(b"[1,2,3,4]", 3)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (b'{"a": 1, "b": [true, null]}', b'{"b":[true,null],"a":1}'),
        (b'"\\u00e9"', '"é"'.encode()),
        (b'{"a": {"y": 1, "x": 2}}', b'{"a": {"x": 2, "y": 1}}'),
    ],
)
def test_spacing_order_of_names_and_escapes_do_not_make_another_body(one: bytes, two: bytes) -> None:
    assert digest(one) == digest(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (b"2.10", b"2.1"),
        (b"-0", b"0"),
        (b"1", b"1.0"),
        (b"1e2", b"100"),
        (b"12345678901234567890", b"12345678901234567891"),
        (b"1", b'"1"'),
        (b"true", b'"true"'),
        (b"true", b"1"),
        (b"null", b"{}"),
        (b"[1, 2]", b"[2, 1]"),
        (b'"a"', b'"A"'),
    ],
)
def test_whatever_else_differs_makes_another_body(one: bytes, two: bytes) -> None:
    assert digest(one) != digest(two)


@pytest.mark.parametrize("key", ["a", "a b", "/", "%2F", "é" * 127, "x" * 255, "😀", "..", '"', "\u2028"])
def test_a_key_is_any_text_of_up_to_255_bytes(key: str) -> None:
    assert key_fault(key) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "é" * 128, "a\nb", "\0", "\x7f", "\x85"])
def test_but_not_empty_longer_or_with_control_characters(key: str) -> None:
    assert key_fault(key) is not None
