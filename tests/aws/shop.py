"""The functions behind the gate of Queued channels, of an app of their own: what its tests have in common."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.testing.contract.index import kinds
from tests.aws.behind import Site, failed, written
from tests.aws.emulator.process import Emulator

APP = """
import time
from pydantic import BaseModel
from headgate import App, Archive, Permanent, Public, Queued, Retry, RetryPolicy, Secret

app = App("shop")
seen = []
to_do = {}
deaths = []
steady = RetryPolicy(first_s=10, factor=2, most_s=60, jitter=0)


class Order(BaseModel):
    id: str
    n: int = 0


def handle(order, message):
    seen.append((message.id, message.attempt))
    match to_do.get(message.id, to_do.get("*")):
        case None:
            return None
        case "permanent":
            raise Permanent("never")
        case "hang":
            time.sleep(30)
        case "hang on":
            while True:
                try:
                    time.sleep(30)
                except Exception:
                    pass
        case "retry":
            raise Retry(600.2)
        case "fail":
            raise OSError


policy = Queued(attempts=3, backoff=steady)
app.channel("/plain", name="plain", key="id", auth=Public(), delivery=policy)(handle)
app.channel("/brisk", name="brisk", key="id", auth=Public(), delivery=policy, timeout_s=2)(handle)
app.channel("/kept", name="kept", key="id", auth=Public(), delivery=policy, archive=Archive("{id}.json"))(handle)
app.channel("/stored", name="stored", key="id", auth=Public(), delivery=policy)
app.channel(
    "/ordered", name="ordered", key="id", auth=Public(), delivery=Queued(attempts=3, backoff=steady, order_by="n")
)(handle)
app.channel(
    "/unread", Order, name="unread", key="id", auth=Public(),
    delivery=Queued(attempts=3, backoff=steady, validate="worker"),
)(handle)
app.channel("/direct", name="direct", key="id", auth=Public(), archive=Archive("{id}.json"))


@app.channel("/lists", name="lists", key="id", auth=Public(), delivery=policy, batch=3)
def take(orders, messages):
    seen.append([message.id for message in messages])
    deaths.extend(message.id for message in messages if to_do.get(message.id) == "die")
    return [Retry(1) if message.id in to_do else None for message in messages]
"""

Open = Callable[..., Site]


@pytest.fixture(name="module")
def made_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> str:
    return written(tmp_path, APP, emulator, monkeypatch)


@pytest.fixture(name="app")
def seen_app(module: str) -> Any:
    """The app's module: what its handlers saw, and what they are to do."""
    return importlib.import_module(module)


@pytest.fixture(name="open_site")
def made_sites(emulator: Emulator, module: str) -> Iterator[Open]:
    sites: list[Site] = []

    def opened(channel: str, **options: Any) -> Site:
        sites.append(Site(emulator, module, channel, **options))
        return sites[-1]

    yield opened
    for site in sites:
        site.close()


def change(new: dict[str, Any], old: dict[str, Any] | None = None, number: str = "1") -> dict[str, Any]:
    """A change of a table, as its stream tells it."""
    images = {"NewImage": new, **({} if old is None else {"OldImage": old})}
    return {"eventName": "INSERT" if old is None else "MODIFY", "dynamodb": {**images, "SequenceNumber": number}}


def forwarded(site: Site, *changes: dict[str, Any]) -> list[str]:
    """The places that a forwarder is to be called again from."""
    return failed(site.forwarder().forward({"Records": list(changes)}))


def accepted(site: Site, *keys: str, **more: Any) -> dict[str, Any]:
    """What the worker is handed when messages were accepted and forwarded."""
    assert set(kinds(site.accept(*keys, **more))) == {"stored"}
    assert forwarded(site, *(change(site.image(key), number=key) for key in keys)) == []
    taken = site.taken()
    assert len(taken["Records"]) == len(keys)
    return taken
