"""From the context of a CDK command to the stacks of an app."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from headgate import limits
from headgate.cdk import outputs, packaging
from headgate.cdk.data import DataStack
from headgate.cdk.functions import Image, Package, Zips
from headgate.cdk.service import AppStack, ServiceStack
from headgate.declare.app import App
from headgate.declare.load import app_folder, app_reference, load_app
from headgate.declare.stage import STAGE_VARIABLE, Architecture, Packaging, Stage, packaging_sentences, stage
from headgate.errors import Misuse


class Wishes(NamedTuple):
    """What a command says with `-c NAME=VALUE`: `app`, as every command takes it with --app; `stage`; `runtime`,
    `packaging` and `architecture` in place of what is declared; `log_role=true` to have the account's log role set as
    with `account_log_role=True`; `nag=true` to have the rules of cdk-nag checked; `pipeline=true` for the
    app's pipeline in place of its stacks."""

    app: str = "."
    stage: str | None = None
    runtime: str | None = None
    packaging: Packaging | None = None
    architecture: Architecture = "arm64"
    log_role: bool = False
    nag: bool = False
    pipeline: bool = False


_FLAGS = ("log_role", "nag", "pipeline")


class Stacks(NamedTuple):
    """The stacks of one app in one stage; the same one twice where there is one for all."""

    data: DataStack | AppStack
    service: ServiceStack | AppStack

    def each(self) -> list[cdk.Stack]:
        """Each of them once."""
        return [self.data] if self.data is self.service else [self.data, self.service]


class Prepared(NamedTuple):
    """An app that is about to be made into stacks of one stage. `reference` is where a function finds it."""

    app: App
    stage: Stage
    package: Package
    reference: str

    @property
    def where(self) -> cdk.Environment:
        """The account and the region."""
        return cdk.Environment(account=self.stage.account, region=self.stage.region)


def prepare(root: cdk.App, wishes: Wishes) -> Prepared:
    """Load an app, and pack what is uploaded for it. Raises Misuse and DeclarationError."""
    if wishes.stage is not None:
        os.environ[STAGE_VARIABLE] = wishes.stage  # for headgate.stage() in the app
    app = load_app(wishes.app)
    place = app.stage_named(stage())
    if wishes.log_role:
        place = replace(place, account_log_role=True)
    if wishes.nag:
        cdk.Validations.of(root).add_plugins(AwsSolutionsChecks(root))
    return Prepared(app, place, _package(app, place, wishes), app_reference(wishes.app))


def add_app(root: cdk.App, wishes: Wishes) -> Stacks:
    """Load an app and add its stacks to a CDK app."""
    return add_stacks(root, *prepare(root, wishes))


def add_stacks(root: Construct, app: App, place: Stage, package: Package, reference: str) -> Stacks:
    """The stacks of an app in one stage."""
    stacks = _stacks(root, Prepared(app, place, package, reference))
    for stack in stacks.each():
        tag(stack, app, place)
        _refuse_too_many(stack)
    return stacks


def tag(stack: cdk.Stack, app: App, place: Stage) -> None:
    """Put the tags of a stage on everything in a stack."""
    for name, value in {"headgate:app": app.name, "headgate:stage": place.name, **place.tags}.items():
        cdk.Tags.of(stack).add(name, value)


def _stacks(root: Construct, it: Prepared) -> Stacks:
    serving: dict[str, Any] = {
        "app": it.app,
        "stage": it.stage,
        "package": it.package,
        "reference": it.reference,
        "env": it.where,
    }
    name, place = it.app.name, it.stage
    if place.stack is not None:
        whole = AppStack(
            root, place.stack, stack_name=place.stack, **serving, description=f"{name}, stage {place.name}"
        )
        return Stacks(whole, whole)
    data = DataStack(
        root,
        outputs.data_stack(it.app, place),
        stack_name=outputs.data_stack(it.app, place),
        app=it.app,
        stage=place,
        env=it.where,
        description=f"What {name} stores, stage {place.name}",
    )
    called, description = outputs.service_stack(it.app, place), f"What serves {name}, stage {place.name}"
    return Stacks(data, ServiceStack(root, called, stack_name=called, data=data, **serving, description=description))


def _refuse_too_many(stack: cdk.Stack) -> None:
    most = limits.STACK_RESOURCES.value
    count = sum(cdk.CfnResource.is_cfn_resource(node) for node in stack.node.find_all())
    if count > most:
        raise Misuse(
            f"{stack.stack_name} would have {count} resources, and CloudFormation takes {most} in one stack: "
            "split the app in two, each with some of the channels."
        )


def _package(app: App, place: Stage, wishes: Wishes) -> Package:
    target = packaging.Target(wishes.runtime or place.runtime or app.runtime, wishes.architecture)
    project = app_folder(wishes.app)
    if (wishes.packaging or place.packaging or app.packaging) == "image":
        return Image(packaging.image(project, target), wishes.architecture)
    code, layer = packaging.code(project, target), packaging.layer(project, target)
    return Zips(code, layer, target.runtime, wishes.architecture)


def wishes_of(root: cdk.App) -> Wishes:
    """What the context of a CDK app says. Raises Misuse where it cannot be."""
    found: dict[str, Any] = {}
    for name in Wishes._fields:
        said = root.node.try_get_context(name)
        if said is not None:
            found[name] = str(said).lower() == "true" if name in _FLAGS else str(said)
    wishes = Wishes(**found)
    sentences = [*packaging_sentences(wishes.runtime, wishes.packaging)]
    if wishes.architecture not in get_args(Architecture):
        sentences.append(f"`architecture=` is {wishes.architecture!r}; say one of {', '.join(get_args(Architecture))}.")
    if sentences:
        raise Misuse(" ".join(["What was said with -c:", *sentences]))
    return wishes
