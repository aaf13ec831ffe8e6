"""Carries out the effects of the gate, plainly: what the embedded server does on its event loop needs none."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

import pytest

from headgate.engine import Keys
from headgate.errors import Refusal
from headgate.gate.credentials import ChannelVerifier
from headgate.gate.effects import Call, Effect, LookUpJwks, LookUpKey
from headgate.http import Request

Result = TypeVar("Result")


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
    return driven(verifier.verify(sent, body), lambda effect: _carried_out(effect, keys))


def driven(steps: Generator[Effect, Any, Result], carry_out: Callable[[Effect], Any]) -> Result:
    """What steps come to; each effect is carried out, or fails, before the next: no loop, no thread, no waiting."""
    step: Callable[[Any], Effect] = steps.send
    answer: Any = None
    while True:
        try:
            effect = step(answer)
        except StopIteration as stop:
            return cast("Result", stop.value)
        try:
            step, answer = steps.send, carry_out(effect)
        except Exception as error:  # noqa: BLE001 - the gate decides what it means
            step, answer = steps.throw, error


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
