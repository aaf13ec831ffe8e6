"""Lambda functions: one for each duty, with a role, a log group and a policy of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from headgate import limits
from headgate.cdk.acknowledged import acknowledge, acknowledge_wildcard
from headgate.cdk.policy import Grant
from headgate.cdk.removal import removal
from headgate.declare.stage import LOG_DAYS, Architecture, Stage
from headgate.errors import Misuse

_DESCRIPTION_CHARS = 256

_ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}
_PLATFORMS = {"arm64": ecr_assets.Platform.LINUX_ARM64, "x86_64": ecr_assets.Platform.LINUX_AMD64}

_KEPT = [kept for kept in logs.RetentionDays if kept is not logs.RetentionDays.INFINITE]
_RETENTION = dict(zip(LOG_DAYS, _KEPT, strict=True))


@dataclass(frozen=True, slots=True)
class Zips:
    """What the functions are made of: the user's code, and the layer it shares with all of them."""

    code: Path
    layer: Path
    runtime: str
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class Image:
    """What the functions are made of: a folder with a Dockerfile."""

    folder: Path
    architecture: Architecture


Package = Zips | Image


class Functions(Construct):
    """Makes the functions of one app: what all of them share is made once."""

    def __init__(self, scope: Construct, id: str, *, package: Package, stage: Stage) -> None:
        super().__init__(scope, id)
        self._package = package
        self._stage = stage
        self._layer = _layer(self, package) if isinstance(package, Zips) else None

    def add(
        self,
        name: str,
        *,
        handler: str,
        description: str,
        environment: Mapping[str, str],
        grants: Sequence[Grant],
        memory_mb: int | None = None,
        timeout_s: int | None = None,
        called: str | None = None,
        feeds_itself: bool = False,
    ) -> lambda_.Function:
        """A function that may do what `grants` say and write its own log, and nothing else. Of the stage's size, unless
        another one is said; with a name of CloudFormation's, unless it has to be `called` something. One that
        `feeds_itself` sends to the queue that it is called by. Raises Misuse for an environment that Lambda would not
        take."""
        _refuse_too_much(description, environment)
        scope = Construct(self, name)
        group = log_group(scope, "Log", self._stage)
        role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        code, runtime, entry = _code(self._package, handler)
        function = lambda_.Function(
            scope,
            "Function",
            function_name=called,
            description=description[:_DESCRIPTION_CHARS],
            runtime=runtime,
            architecture=_ARCHITECTURES[self._package.architecture],
            handler=entry,
            code=code,
            layers=None if self._layer is None else [self._layer],
            role=role.without_policy_updates(),
            log_group=group,
            memory_size=memory_mb or self._stage.memory_mb,
            timeout=Duration.seconds(timeout_s or self._stage.timeout_s),
            environment=dict(environment),
            # Else Lambda takes it for a loop that nobody meant, and after some 16 rounds no longer hands over.
            recursive_loop=lambda_.RecursiveLoop.ALLOW if feeds_itself else None,
        )
        own_log = Grant(("logs:CreateLogStream", "logs:PutLogEvents"), (group.log_group_arn,))
        granted = attach(scope, [own_log, *grants], role)
        function.node.add_dependency(granted)
        if isinstance(self._package, Zips):
            acknowledge(
                function, "AwsSolutions-L1", "The app says which Python it runs on; the newest is not asked for."
            )
        return function


def log_group(scope: Construct, id: str, stage: Stage, name: str | None = None) -> logs.LogGroup:
    """A log that is kept as long as the stage says."""
    return logs.LogGroup(
        scope,
        id,
        log_group_name=name,
        retention=_RETENTION[stage.log_days],
        removal_policy=removal(retains=stage.retains),
    )


def attach(scope: Construct, grants: Sequence[Grant], role: iam.IRole) -> iam.Policy:
    """Let a role do what `grants` say."""
    statements = [iam.PolicyStatement(actions=[*it.actions], resources=[*it.resources]) for it in grants]
    policy = iam.Policy(scope, "Policy", statements=statements, roles=[role])
    for grant in grants:
        if grant.because:
            for resource in grant.resources:
                acknowledge_wildcard(policy, resource, grant.because)
    return policy


def _refuse_too_much(description: str, environment: Mapping[str, str]) -> None:
    """What only AWS knows yet, as names of tables, is counted with the few characters that stand for it here."""
    most = limits.ENVIRONMENT.value
    size = sum(len(f"{name}{value}".encode()) for name, value in environment.items())
    if size > most:
        raise Misuse(
            f"The function that {description[0].lower()}{description[1:]} would have {size} bytes of environment, and "
            f"Lambda takes {most}: name fewer settings, or keep long ones in a Secret(...)."
        )


def _layer(scope: Construct, zips: Zips) -> lambda_.LayerVersion:
    return lambda_.LayerVersion(
        scope,
        "Layer",
        description="What the app depends on, and headgate",
        code=lambda_.Code.from_asset(str(zips.layer)),
        compatible_runtimes=[_runtime(zips.runtime)],
        compatible_architectures=[_ARCHITECTURES[zips.architecture]],
    )


def _code(package: Package, handler: str) -> tuple[lambda_.Code, lambda_.Runtime, str]:
    match package:
        case Zips():
            return lambda_.Code.from_asset(str(package.code)), _runtime(package.runtime), handler
        case Image():
            code = lambda_.Code.from_asset_image(
                str(package.folder), cmd=[handler], platform=_PLATFORMS[package.architecture]
            )
            return code, lambda_.Runtime.FROM_IMAGE, lambda_.Handler.FROM_IMAGE


def _runtime(name: str) -> lambda_.Runtime:
    return lambda_.Runtime(name, lambda_.RuntimeFamily.PYTHON)
