"""Messages that are made up: good ones that a channel takes, bad ones that it has to refuse."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, NaiveDatetime, ValidationError, create_model

from headgate.declare.channel import Channel
from headgate.declare.stores import Field
from headgate.errors import Misuse

_TRIES = 20
_POOL = 500  # made up from the model, at a millisecond each; from then on they come again under new keys
# Valid JSON, but no two readers agree on it; every channel refuses it.
_ALWAYS_BAD = b'{"twice":1,"twice":2}'

Place = tuple[str | int, ...]


class Synthetic:
    """Makes up messages for a channel, the same ones for the same seed. Each has a key of its own.

    Raises Misuse where polyfactory and faker (the extra `fake`) are missing, or where nothing fits the model.
    """

    def __init__(self, channel: Channel, seed: int) -> None:
        self._channel = channel
        self._random = random.Random(seed)  # noqa: S311 - made up, not secret
        self._build = _any_json(self._random) if channel.adapter is None else _of_model(channel, seed)
        self._words = list(_words(self._random))
        self._fitting: dict[str, Callable[[], object]] = {}
        self._pool: list[Any] = []

    def good(self) -> bytes:
        """A message that the channel takes."""
        return _text(self._good())

    def bad(self) -> bytes:
        """A message that the channel refuses. It is JSON all the same, so it can stand in a batch."""
        tree = self._good()
        spoilers: list[Callable[[Any], Any]] = [self._without_a_field, self._with_a_wrong_value]
        self._random.shuffle(spoilers)
        for spoil in [lambda _: None, *spoilers] if self._random.random() < 0.1 else spoilers:
            spoilt = spoil(deepcopy(tree))
            if self._faults(spoilt) or self._lacks_key(spoilt):
                return _text(spoilt)
        return _ALWAYS_BAD

    def new_id(self) -> str:
        """A UUID."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _good(self) -> Any:
        if len(self._pool) == _POOL:
            tree = self._with_key(self._random.choice(self._pool))
            if not self._faults(tree):
                return tree
        else:
            self._pool.append(self._made_up())
        return self._pool[-1]

    def _made_up(self) -> Any:
        faults: list[Place] = []
        for _ in range(_TRIES):
            tree = self._with_key(self._build())
            faults = self._faults(tree)
            if faults:
                tree = self._repaired(tree, faults)
                faults = self._faults(tree)
            if not faults:
                return tree
        where = ", ".join(".".join(map(str, place)) or "the message" for place in faults)
        raise Misuse(
            f"No message could be made up that {self._channel.path} takes; nothing fits {where}. "
            "Give that field examples in the model: `Field(examples=[...])`."
        )

    def _with_key(self, tree: Any) -> Any:
        """The same with a new key, where the model takes one there; else with the key that was made up."""
        if not isinstance(self._channel.key, Field):
            return tree
        for key in (self.new_id(), self._random.getrandbits(53)):
            changed = _put(deepcopy(tree), self._channel.key.path, key)
            if not any(place == self._channel.key.path for place in self._faults(changed)):
                return changed
        return tree

    def _repaired(self, tree: Any, faults: list[Place]) -> Any:
        """The same with words at the places of faults that polyfactory cannot know about."""
        for place in faults:
            kind = ".".join(str(part) for part in place if isinstance(part, str))
            known = self._fitting.get(kind)
            for word in [known, *self._words] if known else self._words:
                changed = _put(deepcopy(tree), place, word())
                if place not in self._faults(changed):
                    tree, self._fitting[kind] = changed, word
                    break
        return tree

    def _without_a_field(self, tree: Any) -> Any:
        if isinstance(tree, dict) and tree:
            del tree[self._random.choice(sorted(tree))]
        return tree

    def _with_a_wrong_value(self, tree: Any) -> Any:
        if isinstance(tree, dict) and tree:
            tree[self._random.choice(sorted(tree))] = self._random.choice([{"?": []}, [[]], "?" * 2_000])
        return tree

    def _faults(self, tree: Any) -> list[Place]:
        if self._channel.validator is None:
            return []
        try:
            self._channel.validator.validate_json(_text(tree), strict=True)
        except ValidationError as error:
            return [
                fault["loc"] for fault in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        return []

    def _lacks_key(self, tree: Any) -> bool:
        if not isinstance(self._channel.key, Field):
            return False
        for name in self._channel.key.path:
            if not isinstance(tree, dict) or name not in tree:
                return True
            tree = tree[name]
        return not isinstance(tree, str | int) or isinstance(tree, bool) or not 0 < len(str(tree).encode()) < 256


def _of_model(channel: Channel, seed: int) -> Callable[[], Any]:
    factory = _factory(channel, seed)
    adapter = channel.adapter
    assert adapter is not None

    def build() -> Any:
        made = _built(factory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not fit its own model is repaired afterwards
            return json.loads(adapter.dump_json(made.body, by_alias=True))

    return build


def _factory(channel: Channel, seed: int) -> Any:
    """polyfactory's, for a wrapper around the model, since that may be a list or a union as well."""
    try:
        from faker import Faker
        from polyfactory.factories.pydantic_factory import ModelFactory
    except ImportError:
        raise Misuse("Making messages up needs an extra: pip install 'headgate[fake]'.") from None
    chance = random.Random(seed)  # noqa: S311 - made up, not secret
    faker = Faker()
    faker.seed_instance(seed)

    class Factory(ModelFactory[Any]):
        __model__ = create_model("Wrapper", body=(channel.model, ...))
        __random__ = chance
        __faker__ = faker
        __use_examples__ = True
        __check_model__ = False

        @classmethod
        def get_provider_map(cls) -> dict[Any, Callable[[], Any]]:
            return {**super().get_provider_map(), **_times(chance)}

    return Factory


def _times(chance: random.Random) -> dict[Any, Callable[[], Any]]:
    """Times that do not depend on when they are made up."""

    def moment() -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10 * 365 * 86_400))

    return {
        datetime: moment,
        AwareDatetime: moment,
        NaiveDatetime: lambda: moment().replace(tzinfo=None),
        date: lambda: moment().date(),
        time: lambda: moment().time(),
        timedelta: lambda: timedelta(seconds=chance.randrange(100_000)),
    }


def _built(factory: Any) -> Any:
    """A model, whether or not its own validators like it."""
    try:
        return factory.build()
    except ValidationError:
        return factory.build(factory_use_construct=True)


def _any_json(chance: random.Random) -> Callable[[], Any]:
    def value(depth: int) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: chance.choice([None, True, False]),
            lambda: chance.randint(-10_000, 10_000),
            lambda: round(chance.uniform(-1_000, 1_000), 2),
            lambda: "".join(chance.choices("abcdefgh ijklmnop äöü é &+% 🚰", k=chance.randint(0, 30))),
        ]
        if depth:
            kinds.append(lambda: [value(depth - 1) for _ in range(chance.randint(0, 4))])
            kinds.append(lambda: {f"field_{n}": value(depth - 1) for n in range(chance.randint(0, 4))})
        return chance.choice(kinds)()

    return lambda: {f"field_{n}": value(2) for n in range(chance.randint(1, 5))}


def _words(chance: random.Random) -> Iterator[Callable[[], object]]:
    """What text often has to look like, where a model only says `str`."""

    def moment(form: str) -> Callable[[], object]:
        return lambda: form.format(
            year=chance.randint(2000, 2030),
            month=chance.randint(1, 12),
            day=chance.randint(1, 28),
            hour=chance.randint(0, 23),
            minute=chance.randint(0, 59),
            second=chance.randint(0, 59),
        )

    day, hour = "{year}-{month:02}-{day:02}", "{hour:02}:{minute:02}:{second:02}"
    yield lambda: "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    yield lambda: str(UUID(int=chance.getrandbits(128), version=4))
    for form in (f"{day} {hour}", f"{day}T{hour}Z", f"{day}T{hour}", day, hour, "{day:02}.{month:02}.{year}"):
        yield moment(form)
    yield lambda: f"user{chance.randint(1, 10_000)}@example.com"
    yield lambda: f"https://example.com/{chance.randint(1, 10_000)}"
    for digits in (1, 4, 5, 8, 10, 13, 16):
        yield lambda digits=digits: "".join(chance.choices("123456789", k=digits))  # type: ignore[misc]
    for letters in (1, 2, 3, 4, 5, 8):
        yield lambda letters=letters: "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=letters))  # type: ignore[misc]
    yield lambda: f"{chance.choice('ABC')}-{chance.randint(100, 999)}"
    yield lambda: " ".join("word" for _ in range(12))
    yield lambda: chance.randint(1, 100)
    yield lambda: None


def _put(tree: Any, place: Place, value: object) -> Any:
    """`tree` with a value at a place; as it was where there is no such place."""
    if not place:
        return value
    node = tree
    for part, following in pairwise(place):
        if isinstance(node, dict) and isinstance(part, str):
            node = node.setdefault(part, {} if isinstance(following, str) else [])
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            return tree
    if isinstance(node, dict) or (isinstance(node, list) and isinstance(place[-1], int) and place[-1] < len(node)):
        node[place[-1]] = value  # type: ignore[index]
    return tree


def _text(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
