"""Carries out a verifier's effects, plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from headgate.engine import Keys
from headgate.errors import Refusal
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.effects import Call, Effect, LookUpJwks, LookUpKey
from headgate.http import Request


def request(**headers: str | bytes) -> Request:
    """A request with headers: `x_api_key="k"` stands for `x-api-key: k`."""
    sent = {
        name.replace("_", "-").encode(): value.encode() if isinstance(value, str) else value
        for name, value in headers.items()
    }
    return Request("POST", "/orders", "", sent, "request-1", 0)


def bearing(token: str | bytes) -> Request:
    return request(authorization=b"Bearer " + (token.encode() if isinstance(token, str) else token))


def principal(verifier: ChannelVerifier, sent: Request, body: bytes | None = None, keys: Keys | None = None) -> str:
    """Who sent it; raises what the verifier raises."""
    steps = verifier.verify(sent, body)
    resume: Callable[[], Effect] = lambda: next(steps)  # noqa: E731
    while True:
        try:
            effect = resume()
        except StopIteration as stop:
            return cast("str", stop.value)
        try:
            answer = _carried_out(effect, keys)
        except Exception as error:  # noqa: BLE001 - the verifier decides what it means
            resume = _throwing(steps, error)
        else:
            resume = _sending(steps, answer)


def refusal(verifier: ChannelVerifier, sent: Request, body: bytes | None = None, keys: Keys | None = None) -> Refusal:
    """How it was refused; fails where it was let in."""
    with pytest.raises(Refusal) as caught:
        principal(verifier, sent, body, keys)
    return caught.value


def challenge(refused: Refusal) -> str:
    """The value of WWW-Authenticate."""
    return dict(refused.headers)["WWW-Authenticate"]


def _carried_out(effect: Effect, keys: Keys | None) -> Any:
    match effect:
        case LookUpKey(id_):
            assert keys is not None
            return keys.api_key(id_)
        case LookUpJwks(url, missing):
            assert keys is not None
            return keys.jwks(url, missing=missing)
        case Call(verifier, sent):
            return verifier(sent)
    raise AssertionError(f"a verifier has no use for {effect}")


def _throwing(steps: Any, error: Exception) -> Callable[[], Effect]:
    return lambda: cast("Effect", steps.throw(error))


def _sending(steps: Any, answer: Any) -> Callable[[], Effect]:
    return lambda: cast("Effect", steps.send(answer))
