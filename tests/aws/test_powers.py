"""Behind the gate, too, every role may do what is done with it and nothing else: no action too many, and none that
could be missing unnoticed. Roles of functions, of the API, of state machines and of schedules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import NamedTuple, TypeVar

import pytest

from tests.aws.deeds import DEEDS, arrive, go_its_way, is_buried
from tests.aws.emulator.deployment import Deployed, Grant
from tests.aws.emulator.feeds import FEEDS
from tests.aws.emulator.process import Emulator
from tests.aws.powers import denied, granted, unused
from tests.aws.workshop import Works

pytestmark = pytest.mark.xdist_group("works")

_NAME = re.compile(r"(?:Functions|IngressApi)?(\w+?)(?:Schedule)?Role[0-9A-F]{8}")
_THREADS = 3
_FAMILIES = (("Settling", "Settle", "Orders", "Hourly", "Mornings"), ("Quick", "Requests"))
STREAMS = ("events", "visits")

BY_LOGS_AND_TRACES = {
    *(
        f"logs:{action}"
        for action in (
            "CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery", "ListLogDeliveries",
            "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups",
        )
    ),
    *(f"xray:{it}" for it in ("PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets")),
}  # fmt: skip
"""What a machine that logs and is traced needs, as these pages say; the emulator does neither.
https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html#cloudwatch-iam-policy
https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html"""


T = TypeVar("T")
R = TypeVar("R")


class Role(NamedTuple):
    """`name` is what DEEDS calls it, `function` is empty where it is none's."""

    name: str
    physical: str
    function: str


@pytest.fixture(scope="module")
def works(emulator: Emulator, deployed: Callable[[str], Deployed]) -> Iterator[Works]:
    """The app at rest, after everything that its roles are for was done once."""
    app = deployed("works")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in emulator.env.items():
            patch.setenv(variable, value)
        app.set_secret("WORKS_TOKEN", "known")
        works = Works(app)
        go_its_way(works)
        with ThreadPoolExecutor() as threads:
            assert all(threads.map(partial(is_buried, works), STREAMS))
        works.rest()
        in_kin(lambda name: DEEDS[name](works), DEEDS, str)
        works.learn()
        yield works
        works.close()


def roles(works: Works) -> list[Role]:
    """All that the app is deployed with, but for that of the CDK's own function."""
    functions = {works.deployed.role_of(physical): physical for physical in works.functions.values()}
    found = []
    for logical, physical in works.deployed.roles().items():
        if not logical.startswith("Custom"):
            match = _NAME.fullmatch(logical)
            assert match is not None, logical
            name = match[1] + ("Schedule" if "ScheduleRole" in logical else "")
            found.append(Role(name, physical, functions.get(physical, "")))
    return found


def in_kin(look: Callable[[T], R], those: Iterable[T], name: Callable[[T], str]) -> list[R]:
    """What came of each; those that have a queue, a table or a machine in common, one after the other."""

    def kin(one: T) -> str:
        first = str(re.findall("[A-Z][a-z]+", name(one))[0])
        return next((family[0] for family in _FAMILIES if first in family), first)

    families = [[*some] for _, some in groupby(sorted(those, key=kin), kin)]
    with ThreadPoolExecutor(_THREADS) as threads:
        return [one for found in threads.map(lambda some: [look(it) for it in some], families) for one in found]


def asked_with(works: Works, role: Role) -> set[Grant]:
    """What its function has asked for, and what services have that act with it."""
    emulator = works.deployed.emulator
    return emulator.actions(role.physical) | (emulator.actions(role.function) if role.function else set())


def test_every_role_has_a_deed(works: Works) -> None:
    assert {role.name for role in roles(works)} == DEEDS.keys()


def test_no_role_is_granted_what_nobody_asks_for_with_it(works: Works) -> None:
    for role in roles(works):
        grants, asked = granted(works.deployed, role.physical), asked_with(works, role)
        beyond = {(action, "*") for action in BY_LOGS_AND_TRACES} if role.name.endswith("Workflow") else set()
        assert (unused(grants, asked), denied(grants, asked)) == (beyond, set()), role.name


def test_without_any_one_of_its_permissions_a_role_is_of_no_use(works: Works) -> None:
    """Those that its deed needs; what Lambda does itself where it feeds a function is looked at below."""

    def looked_at(role: Role) -> list[tuple[str, Grant]]:
        grants = sorted(needed_by_deed(works, role))
        return [(role.name, grant) for grant in grants if is_unnoticed(works, role, grant)]

    assert [one for found in in_kin(looked_at, roles(works), lambda role: role.name) for one in found] == []


def needed_by_deed(works: Works, role: Role) -> set[Grant]:
    called = works.deployed.emulator.actions(role.function or role.physical)
    grants = granted(works.deployed, role.physical)
    return grants - unused(grants, called)


def is_unnoticed(works: Works, role: Role, grant: Grant) -> bool:
    is_secret = grant[0].startswith("secretsmanager:")
    try:
        with works.deployed.without((role.physical, grant)):
            if is_secret:
                works.deployed.start_anew(role.function)
            DEEDS[role.name](works)
    except (AssertionError, KeyError):
        return False
    finally:
        if is_secret:
            works.deployed.start_anew(role.function)
    return True


def test_without_any_one_of_the_permissions_to_read_its_source_a_function_is_not_called(works: Works) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html, with-ddb.html and
    services-kinesis-create.html name them; of all mappings the roles lack one after the other."""
    feeds = {role: feed for role in roles(works) if role.function and (feed := feed_of(works, role))}
    assert len(feeds) == len(works.mappings)
    for at in range(max(map(len, feeds.values()))):
        taken = {role: feed[at] for role, feed in feeds.items() if at < len(feed)}
        works.settle()
        before = {role: works.calls(role.function) for role in taken}
        lacking = [(role.physical, grant) for role, grant in taken.items()]
        with works.deployed.without(*lacking), works.fed():
            arrive(works)
            for role, (action, _) in lacking:
                assert works.comes_to_be(partial(works.is_refused, role, action)), (role, action)
        works.settle()
        assert {role: works.calls(role.function) for role in taken} == before
        with works.fed():
            for fed, calls in before.items():
                assert works.comes_to_be(partial(is_called_again, works, fed, calls)), fed.name


def is_called_again(works: Works, role: Role, calls: int) -> bool:
    return works.calls(role.function) > calls


def feed_of(works: Works, role: Role) -> list[Grant]:
    """What the role of a function is granted so that Lambda can feed it; empty where it is not fed."""
    (source, *more) = [it["EventSourceArn"] for it in works.mappings if it["FunctionArn"].endswith(role.function)] or [
        ""
    ]
    assert more == []
    wanted = FEEDS.get(source.split(":")[2], ()) if source else ()
    found = {
        action: grant for grant in granted(works.deployed, role.physical) for action in [grant[0]] if action in wanted
    }
    assert found.keys() == set(wanted)
    return [found[action] for action in wanted]


def test_without_the_permission_to_send_it_away_nobody_hears_of_what_lambda_gave_up(works: Works) -> None:
    def heard(*, may_send: bool) -> list[bool]:
        with works.fed(), ThreadPoolExecutor() as threads:
            return [*threads.map(partial(is_buried, works, may_send=may_send), STREAMS)]

    assert heard(may_send=False) == [False, False]
    assert heard(may_send=True) == [True, True]
