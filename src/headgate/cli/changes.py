"""Changes to the store: through the server that is running, else with the store opened here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any, Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from headgate.cli.deployed import Deployed
from headgate.cli.place import Place
from headgate.clock import SystemClock
from headgate.engine import Alteration, Execution
from headgate.errors import Misuse, Unavailable
from headgate.gate.verify import new_api_key
from headgate.local.control import orders_text
from headgate.local.engine import LocalEngine
from headgate.local.keys import IamKeyRow, new_iam_key
from headgate.local.state import Holder

Answer = TypeVar("Answer")

Ranges = Mapping[str, tuple[str | None, str]]
"""Of shards: the sequence before the first record, and that of the last."""

_TRIES = 100
_PAUSE_S = 0.05
_TIMEOUT_S = 60


class Changes(Protocol):
    """What a command may change."""

    def create_key(self, channel: str, name: str) -> str:
        """The text of a new API key."""

    def create_iam_key(self, channel: str, name: str, session_s: int) -> IamKeyRow:
        """A new access key; with `session_s` a temporary one."""

    def revoke_key(self, id: str) -> bool:
        """False where there was none."""

    def delete_message(self, channel: str, scope: str, key: str) -> bool:
        """False where there was none."""

    def alter(self, channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> int:
        """Change dead letters, by (scope, key); how many were some, and are changed."""

    def replay(self, channel: str, consumer: str, ranges: Ranges) -> list[int]:
        """Let a consumer read ranges of a stream once more; a number for each, see `LocalStream.replay`."""


class ElsewhereError(Exception):
    """The holder that was asked is not the holder any more; nothing was changed."""


def change(place: Place, what: Callable[[Changes], Answer]) -> Answer:
    """Carry out one change. While holders come and go, as on a reload under dev, it is tried again for a while."""
    if place.stage is not None:
        return what(InStage(place.deployed))
    for _ in range(_TRIES):
        holder = place.state.holder()
        if holder is None:
            return _alone(place, what)
        if holder.url:
            try:
                return what(Beside(holder))
            except ElsewhereError:
                pass
        time.sleep(_PAUSE_S)
    raise Misuse(f"{place.state.path} is in use by {holder}, which does not answer. Try again, or stop it.")


def ask_server(place: Place, verb: str, what: str) -> Execution | None:
    """Have the running server do something with an execution or a schedule; None where there is none of that name.

    Raises Misuse, with the way out, where nothing serves from here, or where it cannot be done.
    """
    holder = place.state.holder()
    if holder is None or not holder.url:
        raise Misuse(f"Nothing serves from {place.state.path}: workflows run where the app is served. Start it first.")
    answer = Beside(holder).run(verb, what)
    return None if answer is None else Execution(**answer)


def _alone(place: Place, what: Callable[[Changes], Answer]) -> Answer:
    place.state.hold()
    try:
        engine = LocalEngine(place.state.store, (), SystemClock())
        try:
            return what(Alone(engine))
        finally:
            engine.close()
    finally:
        place.state.release()


class Alone(Changes):
    """With the store in our own hands."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def create_key(self, channel: str, name: str) -> str:
        key, row = new_api_key(channel, name, SystemClock().now_ms())
        self._engine.keys.add_api_key(row)
        return key

    def create_iam_key(self, channel: str, name: str, session_s: int) -> IamKeyRow:
        row = new_iam_key(channel, name, SystemClock().now_ms(), session_s)
        self._engine.keys.add_iam_key(row)
        return row

    def revoke_key(self, id: str) -> bool:
        return self._engine.keys.remove_api_key(id) or self._engine.keys.remove_iam_key(id)

    def delete_message(self, channel: str, scope: str, key: str) -> bool:
        return self._engine.index.delete(channel, scope, key)

    def alter(self, channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> int:
        return self._engine.queue.alter_all(channel, places, alteration)

    def replay(self, channel: str, consumer: str, ranges: Ranges) -> list[int]:
        return self._engine.stream.replay(channel, consumer, ranges)


class Beside(Changes):
    """Through a server on this machine, with the token that is for whoever can read its state folder."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def create_key(self, channel: str, name: str) -> str:
        created = self._ask("POST", "keys", {"channel": channel, "name": name})
        return str(created["key"])

    def create_iam_key(self, channel: str, name: str, session_s: int) -> IamKeyRow:
        asked = {"channel": channel, "name": name, "session_s": str(session_s)}
        return IamKeyRow(**self._ask("POST", "iam-keys", asked))

    def revoke_key(self, id: str) -> bool:
        return self._ask("DELETE", f"keys/{id}") is not None

    def delete_message(self, channel: str, scope: str, key: str) -> bool:
        return self._ask("POST", "messages/delete", {"channel": channel, "scope": scope, "key": key}) is not None

    def alter(self, channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> int:
        return int(self._ask("POST", "messages/alter", orders_text(channel, places, alteration))["changed"])

    def replay(self, channel: str, consumer: str, ranges: Ranges) -> list[int]:
        asked = json.dumps({"channel": channel, "consumer": consumer, "ranges": dict(ranges)}).encode()
        return list(self._ask("POST", "streams/replay", asked)["replays"])

    def run(self, verb: str, what: str) -> Any:
        """See `ask_server`."""
        return self._ask("POST", "runs", {"verb": verb, "what": what})

    def _ask(self, method: str, path: str, body: dict[str, str] | bytes | None = None) -> Any:
        """The answer; None where the server says 404."""
        request = Request(  # noqa: S310 - the url of our own holder file
            f"{self._holder.url}/-/control/{path}",
            json.dumps(body).encode() if isinstance(body, dict) else body,
            {"Authorization": f"Bearer {self._holder.control_token}", "Content-Type": "application/json"},
            method=method,
        )
        opener = build_opener(ProxyHandler({}))  # no proxy stands between us and this machine
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as response:
                return json.loads(response.read() or b"true")
        except HTTPError as error:
            return _refused(error)
        except URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                raise ElsewhereError from None
            raise Unavailable(f"The server at {self._holder.url} does not answer ({error.reason}).") from None
        except (HTTPException, OSError) as error:
            raise Unavailable(f"The server at {self._holder.url} broke off ({type(error).__name__}).") from None


class InStage(Changes):
    """In the deployed app, with the credentials of whoever asks."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed

    def create_key(self, channel: str, name: str) -> str:
        key, row = new_api_key(channel, name, SystemClock().now_ms())
        with self._deployed.keys() as keys:
            keys.add_api_key(row)
        return key

    def create_iam_key(self, channel: str, name: str, session_s: int) -> IamKeyRow:  # noqa: ARG002
        raise Misuse("A deployed app takes the access keys of your AWS account: make one there, in IAM.")

    def revoke_key(self, id: str) -> bool:
        with self._deployed.keys() as keys:
            return keys.remove_api_key(id)

    def delete_message(self, channel: str, scope: str, key: str) -> bool:
        with self._deployed.index() as index:
            return index.delete(channel, scope, key)

    def alter(self, channel: str, places: Sequence[tuple[str, str]], alteration: Alteration) -> int:
        with self._deployed.rooms() as (index, queue):
            return sum(index.threads.in_parallel(lambda place: queue.alter(channel, *place, alteration), places))

    def replay(self, channel: str, consumer: str, ranges: Ranges) -> list[int]:  # noqa: ARG002
        raise Misuse("Nobody keeps a replay of a deployed app: `headgate replay` hands the records over itself.")


def _refused(error: HTTPError) -> None:
    with error:
        match error.code:
            case 404:
                return
            case 401:
                raise ElsewhereError from None
            case 409:
                raise Misuse(json.loads(error.read())["detail"])
    raise Unavailable(f"The server could not do it ({error.code}); its log says why.") from None
