"""Made-up messages: the good ones fit, the bad ones do not, and the same seed makes the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, HttpUrl, field_validator

from headgate import App, Public
from headgate.declare.channel import Channel
from headgate.errors import Misuse
from headgate.testing.inprocess import AppUnderTest
from headgate.testing.synthetic import Synthetic


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Card(BaseModel):
    kind: Literal["card"]
    number: Annotated[str, Field(pattern=r"^\d{16}$")]


class Transfer(BaseModel):
    kind: Literal["transfer"]
    iban: Annotated[str, Field(min_length=15, max_length=34)]


class Everything(BaseModel):
    """A field of most kinds, and two that only a validator can judge."""

    model_config = ConfigDict(extra="forbid")

    message_id: UUID = Field(alias="messageId")
    count: Annotated[int, Field(ge=3, le=9)]
    price: Decimal
    ratio: Annotated[float, Field(gt=0, lt=1)]
    on: date
    at: AwareDatetime
    clock: time
    naive: datetime | None
    wait: timedelta
    colour: Colour
    site: HttpUrl
    tags: Annotated[list[str], Field(min_length=1)]
    by_name: dict[str, int]
    payment: Annotated[Card | Transfer, Field(discriminator="kind")]
    written: str
    code: Annotated[str, Field(examples=["XK-1", "XK-2"])]

    @field_validator("written")
    @classmethod
    def is_a_moment(cls, text: str) -> str:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - only its form counts
        return text

    @field_validator("code")
    @classmethod
    def is_a_code(cls, text: str) -> str:
        if not text.startswith("XK-"):
            raise ValueError("no code")
        return text


@dataclass
class Point:
    x: int
    y: int


class Impossible(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def never(cls, text: str) -> str:
        raise ValueError(f"not {len(text)} letters")


def channel(model: Any, key: str | None = None, *, many: bool = False) -> Channel:
    return App("made").channel("/made", model, key=key, many=many, auth=Public())


CHANNELS = {
    "everything": channel(Everything, "messageId"),
    "dataclass": channel(Point),
    "nested key": channel(None, "meta.id"),
    "number as key": channel(Point, "x"),
    "list": channel(list[Point]),
    "union": channel(Card | Transfer),
    "any JSON": channel(None),
}


@pytest.mark.parametrize("made", CHANNELS.values(), ids=CHANNELS.keys())
def test_good_ones_are_taken_and_bad_ones_refused(made: Channel, tmp_path_factory: pytest.TempPathFactory) -> None:
    app = App("made")
    app.channels.append(made)
    synthetic = Synthetic(made, 1)
    served = AppUnderTest(app, tmp_path_factory.mktemp("made"))
    try:
        for _ in range(40):
            good, bad = served.send("/made", body=synthetic.good()), served.send("/made", body=synthetic.bad())
            assert (good.status, bad.status) == (201, 400), (good.body, bad.body)
    finally:
        served.close()


@pytest.mark.parametrize("made", CHANNELS.values(), ids=CHANNELS.keys())
def test_the_same_seed_makes_the_same(made: Channel) -> None:
    one, two, other = Synthetic(made, 7), Synthetic(made, 7), Synthetic(made, 8)
    first = [one.good() for _ in range(5)]
    assert first == [two.good() for _ in range(5)]
    assert first != [other.good() for _ in range(5)]


def test_keys_never_come_twice() -> None:
    synthetic = Synthetic(CHANNELS["everything"], 1)
    assert len({json.loads(synthetic.good())["messageId"] for _ in range(1_200)}) == 1_200


def test_bad_ones_are_bad_in_several_ways() -> None:
    synthetic = Synthetic(CHANNELS["everything"], 1)
    bad = [json.loads(synthetic.bad()) for _ in range(100)]
    assert None in bad
    lacking = [one for one in bad if one is not None and one.keys() < {"messageId", *Everything.model_fields}]
    assert 10 < len(lacking) < 90


def test_a_model_that_nothing_fits_is_told_by_field() -> None:
    with pytest.raises(Misuse, match=r"nothing fits text.*examples="):
        Synthetic(channel(Impossible), 1).good()
