"""Stacks to look at: apps are synthesized, with the rules of cdk-nag, and their templates read as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from headgate.cdk.functions import Image, Package, Zips
from headgate.cdk.program import add_stacks
from headgate.declare.app import App
from headgate.declare.stage import Stage

Node = dict[str, Any]

FUNCTION = "AWS::Lambda::Function"


@dataclass(frozen=True)
class Template:
    """One synthesized template."""

    name: str
    path: Path

    @property
    def body(self) -> Node:
        found: Node = json.loads(self.path.read_text())
        return found

    def all(self, kind: str) -> dict[str, Node]:
        """The resources of a kind, by logical id."""
        return {name: found for name, found in self.body["Resources"].items() if found["Type"] == kind}

    def properties(self, kind: str) -> list[Node]:
        """The properties of every resource of a kind."""
        return [found["Properties"] for found in self.all(kind).values()]

    def one(self, kind: str, **properties: object) -> Node:
        """The properties of the only resource of a kind that has these."""
        (found,) = [it for it in self.properties(kind) if properties.items() <= it.items()]
        return found


@dataclass(frozen=True)
class Synthesized:
    """An app's templates, and where they lie."""

    data: Template
    service: Template
    folder: Path

    def templates(self) -> Iterator[Template]:
        yield self.data
        yield self.service


def synthesize(folder: Path, app: App, stage: Stage | None = None) -> Synthesized:
    """Synthesize an app into a folder. Raises RuntimeError where cdk-nag finds what is not acknowledged."""
    root = cdk.App(outdir=str(folder / "out"), analytics_reporting=False)
    cdk.Validations.of(root).add_plugins(AwsSolutionsChecks(root))
    stacks = add_stacks(root, app, stage or Stage("dev"), package(folder, image=app.packaging == "image"), "app:app")
    root.synth()
    data, service = (
        Template(stack.stack_name, folder / "out" / f"{stack.stack_name}.template.json") for stack in stacks
    )
    return Synthesized(data, service, folder / "out")


def package(folder: Path, *, image: bool) -> Package:
    """A stand-in for what is uploaded: these tests look at templates alone."""
    if image:
        (folder / "image").mkdir(exist_ok=True)
        (folder / "image" / "Dockerfile").write_text("FROM scratch\n")
        return Image(folder / "image", "arm64")
    for name in ("code", "layer"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "what.txt").write_text(name)
    return Zips(folder / "code", folder / "layer", "python3.13", "arm64")


def spelled(value: Any) -> str:
    """A reference in one line: `table/orders-prod-data-OrdersTableName`."""
    match value:
        case str():
            return value
        case {"Fn::Join": ["", parts]}:
            return "".join(map(spelled, parts))
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::GetStackOutput": {"StackName": stack, "OutputName": name}}:
            return f"{stack}-{name}"
        case {"Fn::ImportValue": name} | {"Ref": name}:
            return str(name)
    raise AssertionError(value)


def functions(template: Template) -> dict[str, Node]:
    """The functions by channel and duty: `orders.ingest`, `clicks.count.consumer`, `settle.task`."""
    found = {}
    for properties in template.properties(FUNCTION):
        duty = properties["Handler"].split(".")[-2]
        told = properties["Environment"]["Variables"]
        names = (told.get(f"HEADGATE_{name}") for name in ("CHANNEL", "CHANNELS", "CONSUMER", "TASK"))
        found[".".join([*filter(None, names), duty])] = properties
    return found


def grants(template: Template, function: Node) -> dict[str, set[str]]:
    """What a function may do, and on what, less its own log."""
    role = function["Role"]["Fn::GetAtt"][0]
    (policy,) = [it for it in template.properties("AWS::IAM::Policy") if {"Ref": role} in it["Roles"]]
    found: dict[str, set[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement.keys() == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        actions, resources = (
            it if isinstance(it, list) else [it] for it in (statement["Action"], statement["Resource"])
        )
        for action in actions:
            found.setdefault(action, set()).update(map(spelled, resources))
    own = {function["LoggingConfig"]["LogGroup"]["Ref"] + ".Arn"}
    assert found.pop("logs:CreateLogStream") == found.pop("logs:PutLogEvents") == own
    return found
