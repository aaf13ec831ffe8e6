"""headgate doctor"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from typing import NamedTuple

import click

from headgate.cli.deployment import need_cdk, stage_option
from headgate.cli.place import Place, json_option, placed
from headgate.cli.table import print_table
from headgate.declare.stage import stage as current_stage
from headgate.errors import HeadgateError

_BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"


class Finding(NamedTuple):
    """`state` is `ok`, `note` (it works, but) or `missing`."""

    state: str
    what: str
    told: str


@click.command
@click.option("--aws", is_flag=True, help="Also ask AWS: credentials, bootstrap, API Gateway's log role.")
@stage_option
@json_option
@placed
def doctor(place: Place, aws: bool, as_json: bool) -> int:
    """Say whether this machine can deploy, and with --aws whether your account is ready for it.

    The exit code is 1 where something is missing.

    \b
    Example:
      headgate doctor --aws --stage prod
    """
    findings = [*_of_this_machine(place), *(_of_the_account(place) if aws else ())]
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        print_table(("", "WHAT", "FOUND"), findings)
    return int(any(finding.state == "missing" for finding in findings))


def _of_this_machine(place: Place) -> Iterator[Finding]:
    yield Finding("ok", "Python", platform.python_version())
    yield _found("Node.js", _node)
    yield _found("CDK", _library)
    yield _found("CDK CLI", lambda: _cdk(place))
    yield _found("uv", _uv)
    yield from _bytecode(place)
    if _packaging(place) == "image":
        yield _found("images", _image_builder)


def _found(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", what, look())
    except HeadgateError as error:
        return Finding("missing", what, str(error))


def _node() -> str:
    from headgate.cdk.toolkit import node, node_version

    return node_version(node())


def _library() -> str:
    need_cdk()
    return version("aws-cdk-lib")


def _cdk(place: Place) -> str:
    from headgate.cdk.toolkit import cdk, pinned

    told = _first_word([*cdk(place.app_folder), "--version"])
    return told if told == pinned() else f"{told}, the project's own; headgate knows {pinned()}"


def _uv() -> str:
    from headgate.cdk.dependencies import uv

    return _first_word([uv(), "--version"], 1)


def _packaging(place: Place) -> str:
    try:
        return place.app.stage_named(place.stage or current_stage()).packaging or place.app.packaging
    except HeadgateError:
        return ""  # told with the bytecode


def _image_builder() -> str:
    from headgate.cdk.toolkit import image_builder

    return f"built with {image_builder()}, which answers"


def _first_word(command: list[str], at: int = 0) -> str:
    told = subprocess.run(command, capture_output=True, text=True).stdout.split()  # noqa: S603 - found by us
    return told[at] if len(told) > at else "does not tell its version"


def _bytecode(place: Place) -> Iterator[Finding]:
    from headgate.cdk.dependencies import python_at_hand

    try:
        stage = place.app.stage_named(place.stage or current_stage())
    except HeadgateError as error:
        yield Finding("missing", "the app", str(error))
        return
    runtime = stage.runtime or place.app.runtime
    with suppress(HeadgateError):  # it is uv that finds Pythons: where there is none, its own line says so
        if python_at_hand(runtime.removeprefix("python")):
            yield Finding("ok", "bytecode", f"{runtime} is at hand to compile what is uploaded")
        else:
            yield Finding("note", "bytecode", f"{runtime} is not on this machine: cold starts compile what they import")


def _of_the_account(place: Place) -> Iterator[Finding]:
    credentials = _found("credentials", lambda: _who(place))
    yield credentials
    if credentials.state == "ok":
        yield _found("bootstrap", lambda: _bootstrap(place))
        yield _log_role(place)


def _who(place: Place) -> str:
    from headgate.cli.deployed import asking

    with asking("sts:GetCallerIdentity"):
        client = place.deployed.clients.client("sts")
        who = client.get_caller_identity()
        return f"{who['Arn']} in {client.meta.region_name}"


def _bootstrap(place: Place) -> str:
    from headgate.cli.deployed import asking
    from headgate.errors import Misuse

    with asking("ssm:GetParameter"):
        client = place.deployed.clients.client("ssm")
        try:
            return f"version {client.get_parameter(Name=_BOOTSTRAP)['Parameter']['Value']}"
        except client.exceptions.ParameterNotFound:
            raise Misuse("not done in this region; once is enough: `headgate deploy --bootstrap`") from None


def _log_role(place: Place) -> Finding:
    found = _found("log role", place.deployed.log_role)
    if found.state != "ok" or found.told:
        return found
    if place.deployed.stage.account_log_role:
        return found._replace(told="none yet; this stage sets it")
    return found._replace(
        state="missing", told="API Gateway may not write logs; once is enough: `headgate deploy --log-role`"
    )
