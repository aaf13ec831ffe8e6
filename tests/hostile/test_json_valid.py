"""Whatever is JSON is taken, and comes back byte for byte: the valid texts of a public parser test-suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases import cases_folder
from tests.hostile.target import JSON, assert_polite, attacked
from tests.serving import Served

VALID = sorted((cases_folder() / "json_valid").glob("*.json"))
TWICE_NAMED = "y_object_duplicated_key"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with attacked(tmp_path_factory.mktemp("json_valid")) as served:
        yield served


def test_every_text_that_is_json_comes_back_as_it_went_in(served: Served) -> None:
    good = [file for file in VALID if not file.stem.startswith(TWICE_NAMED)]
    assert len(good) > 70
    for file in good:
        raw = file.read_bytes()
        stored = served.ask("POST", "/any", raw, {**JSON, "Idempotency-Key": file.stem})
        assert stored.status == 201, (file.name, stored.body)
        read = served.ask("GET", f"/any/{file.stem}")
        assert b'"body":%b,"error":null}' % raw.strip(b" \t\r\n") in read.body, file.name


def test_all_of_them_as_one_batch_come_back_too(served: Served) -> None:
    good = [file for file in VALID if not file.stem.startswith(TWICE_NAMED)]
    batch = b"[" + b",".join(file.read_bytes() for file in good) + b"]"
    stored = served.ask("POST", "/any-many", batch, {**JSON, "Idempotency-Key": "batch"})
    assert [item["status"] for item in stored.json()["items"]] == ["stored"] * len(good)
    for place, file in enumerate(good):
        read = served.ask("GET", f"/any-many/batch.{place}")
        assert b'"body":%b,"error":null}' % file.read_bytes().strip(b" \t\r\n") in read.body, file.name


@pytest.mark.parametrize("file", [file for file in VALID if file.stem.startswith(TWICE_NAMED)], ids=lambda f: f.stem)
def test_an_object_that_names_something_twice_is_refused(served: Served, file: Path) -> None:
    answer = assert_polite(served.ask("POST", "/any", file.read_bytes(), JSON), 400)
    assert answer.json()["type"] == "urn:headgate:problem:duplicate_key"
