"""The names of archived objects: told apart, within their folder, and refused at load where that cannot be."""

from __future__ import annotations

import json
import string

import pytest

from headgate import limits
from headgate.declare.stores import Archive, Field, Header, Named
from tests.cases import cases_folder

NAUGHTY: list[str] = json.loads((cases_folder() / "naughty_strings.json").read_text(encoding="utf-8"))


def name(template: str, id: str = "7", principal: str = "alice", body: object = None) -> str:
    return Archive(template).name(Named(id, principal, body))


def test_a_name_is_made_from_fields_and_the_key() -> None:
    body = {"metadata": {"company_id": "acme"}, "n": 20}
    assert name("{metadata.company_id}/{id}.json", "m-1", body=body) == "acme/m-1.json"
    assert name("{n}/{principal}/{id}", body=body) == "20/alice/7"


def test_a_field_that_is_left_out_is_a_dash() -> None:
    assert name("{region}/{id}", body={}) == "-/7"


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a b&+%", "a%20b%26%2B%25"),
        ("é", "%C3%A9"),
    ],
)
def test_what_a_sender_says_stays_in_its_part(id: str, expected: str) -> None:
    assert name("x/{id}", id) == f"x/{expected}"


@pytest.mark.parametrize("text", NAUGHTY)
def test_no_string_leads_out_of_the_folder(text: str) -> None:
    made = name("x/{f}/{id}.json", "7", body={"f": text})
    parts = made.split("/")
    assert len(parts) == 3
    assert not {"", ".", ".."} & set(parts)
    assert set(made) <= set(string.ascii_letters + string.digits + "._~=-%/")
    assert all(len(part) <= limits.OBJECT_NAME_PART.value for part in parts)


def test_long_keys_are_cut_and_still_told_apart() -> None:
    one, two = name("{id}.json", "é" * 127), name("{id}.json", "é" * 126 + "è")
    assert one != two
    assert one == name("{id}.json", "é" * 127)
    assert len(one) == len(two) == limits.OBJECT_NAME_PART.value


@pytest.mark.parametrize(
    ("template", "key", "told"),
    [
        ("all.json", Field("n"), "put {id} into the template"),
        ("/{id}", Field("n"), "no empty parts"),
        ("a/../{id}", Field("n"), "no empty parts"),
        ("{id}/", Field("n"), "no empty parts"),
        ("a b/{id}", Field("n"), "a template has letters"),
        ("a/b/c/d/{id}", Field("n"), "at most 4 parts"),
        ("{id}", Header(), "put {principal} into the template"),
        (7, Field("n"), "a template has letters"),
    ],
)
def test_a_template_that_cannot_be_honoured_is_told(template: str, key: Field | Header, told: str) -> None:
    (sentence,) = Archive(template).sentences(key, per_principal=isinstance(key, Header))
    assert told in sentence


@pytest.mark.parametrize("template", ["{id}", "{n}.json", "a/{principal}/{id}.json", "requests/{id}.json"])
def test_a_good_template_is_taken(template: str) -> None:
    assert not list(Archive(template).sentences(Field("n"), per_principal=False))
