"""Each function may do what it does, and nothing else: no action too many, and none that could be missing unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.aws.site import LARGE, Site, new_note

pytestmark = pytest.mark.xdist_group("intake")

_BY_LAMBDA_ITSELF = {"logs:CreateLogStream", "logs:PutLogEvents"}
_READ = ("notes", "each", "all", "keyed", "tokens")
_MANY = ("each", "all")


@pytest.fixture(scope="module")
def used(site: Site) -> Site:
    """The site after everything that it can do has been done once."""
    use_all_of_it(site)
    return site


def use_all_of_it(site: Site, sender: str = "alice") -> None:
    """Post what is new and what is old, small and large, alone and together; read it, and find it. Each has to do."""
    for channel in ("notes", "keyed", "tokens", "hooks", "tiny", *_MANY):
        small, large = new_note(topic=str(uuid4())), new_note(text=LARGE)
        messages = [small, small, *([] if channel == "tiny" else [large])]
        for sent in [messages] if channel in _MANY else messages:
            assert site.post(channel, sent, sender).status == 201, (channel, sent)
        if channel in _READ:
            for sent in messages:
                assert site.read(channel, f"/{sent['id']}", sender).status == 200, channel
    topic = str(uuid4())
    assert site.post("notes", new_note(topic=topic, text=LARGE)).status == 201
    assert len(site.read("notes", f"?topic={topic}").json()["items"]) == 1


def functions(site: Site) -> dict[str, str]:
    """Ours; the ones that the CDK adds are its own affair."""
    return {name: physical for name, physical in site.deployed.functions().items() if not name.startswith("Custom")}


def test_no_function_is_granted_what_it_does_not_call(used: Site) -> None:
    for name, function in functions(used).items():
        called = {action for action, _ in used.deployed.emulator.actions(function)}
        granted = used.deployed.granted(function) - _BY_LAMBDA_ITSELF
        assert granted == called, name


def test_without_any_one_of_its_permissions_a_function_fails(used: Site) -> None:
    unnoticed = []
    for name, function in functions(used).items():
        for action in used.deployed.granted(function) - _BY_LAMBDA_ITSELF:
            with used.deployed.without(function, action):
                if action.startswith("secretsmanager:"):
                    used.deployed.start_anew(function)
                if not fails(lambda: use_all_of_it(used, sender=str(uuid4()))):
                    unnoticed.append((name, action))
            if action.startswith("secretsmanager:"):
                used.deployed.start_anew(function)
    assert unnoticed == []


def fails(deed: Callable[[], Any]) -> bool:
    try:
        deed()
    except (AssertionError, KeyError):
        return True
    return False
