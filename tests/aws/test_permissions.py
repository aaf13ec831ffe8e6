"""Each function may do what it does, and nothing else: no action too many, and none that could be missing unnoticed."""

from __future__ import annotations

from uuid import uuid4

import pytest

from headgate.cdk.outputs import pascal
from tests.aws.powers import denied, granted, unused
from tests.aws.site import LARGE, Site, new_note

pytestmark = pytest.mark.xdist_group("intake")

_NOT_READ = ("tiny",)
_MANY = ("each", "all")


@pytest.fixture(scope="module")
def used(site: Site) -> Site:
    """The site after everything that it can do has been done once."""
    for channel in site.app.channels:
        use(site, channel.name)
    return site


def use(site: Site, channel: str, sender: str = "alice") -> None:
    """Post what is new and what is old, small and large, alone and together; read it, and find it. All has to do."""
    small, large = new_note(topic=str(uuid4())), new_note(text=LARGE)
    messages = [small, small, *([] if channel == "tiny" else [large])]
    for sent in [messages] if channel in _MANY else messages:
        made = site.post(channel, sent, sender)
        assert made.status == 201
        if channel not in _NOT_READ:
            for key in [one["id"] for one in messages] if channel in _MANY else [made.json()["id"]]:
                assert site.read(channel, f"/{key}", sender).status == 200
                assert site.read(channel, f"/{key}/timeline", sender).status == 200
    if channel == "notes":
        assert len(site.read(channel, f"?topic={small['topic']}").json()["items"]) == 1


def functions(site: Site) -> dict[str, str]:
    """Ours; the ones that the CDK adds are its own affair."""
    return {name: physical for name, physical in site.deployed.functions().items() if not name.startswith("Custom")}


def test_no_function_is_granted_what_it_does_not_call(used: Site) -> None:
    for name, function in functions(used).items():
        called = used.deployed.emulator.actions(function)
        given = granted(used.deployed, used.deployed.role_of(function))
        assert (unused(given, called), denied(given, called)) == (set(), set()), name


def test_without_any_one_of_its_permissions_a_function_fails(used: Site) -> None:
    unnoticed = []
    for name, function in functions(used).items():
        role = used.deployed.role_of(function)
        for grant in granted(used.deployed, role):
            is_secret = grant[0].startswith("secretsmanager:")
            with used.deployed.without((role, grant)):
                if is_secret:
                    used.deployed.start_anew(function)
                if works(used, channel_of(used, name)):
                    unnoticed.append((name, grant))
            if is_secret:
                used.deployed.start_anew(function)
    assert unnoticed == []


def channel_of(site: Site, name: str) -> str:
    return next(channel.name for channel in site.app.channels if name.startswith(pascal(channel.name)))


def works(site: Site, channel: str) -> bool:
    try:
        use(site, channel, sender=str(uuid4()))  # of whom nothing is known, and no decision kept
    except (AssertionError, KeyError):
        return False
    return True
