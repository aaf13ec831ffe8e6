"""Apps deployed to an emulator: by the real CDK CLI, from the real stacks, with zips for the Python at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from headgate.cdk import toolkit
from tests.aws.emulator import node
from tests.aws.emulator.process import ACCOUNT, REGION, Emulator
from tests.aws.emulator.versions import ARCHITECTURE, RUNTIME

_TIMEOUT_S = 1500

Grant = tuple[str, str]
"""An action, and a resource, which may have a `*` in it."""


@dataclass(frozen=True)
class Deployed:
    """An app that is deployed. `outputs` are those of all its stacks."""

    emulator: Emulator
    project: Path
    stacks: tuple[str, ...]
    outputs: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where it is served, plainly."""
        return self.emulator.plain_url(self.outputs["ApiUrl"])

    def set_secret(self, name: str, value: str) -> None:
        """Give a Secret its value, as its user would. Functions that have read it already keep what they have."""
        from headgate.cdk.outputs import secret_arn

        self.emulator.client("secretsmanager").put_secret_value(
            SecretId=self.outputs[secret_arn(name)], SecretString=value
        )

    def functions(self) -> dict[str, str]:
        """The names of its functions, by channel and duty: `NotesIngest`."""
        return {
            name.removeprefix("Functions").partition("Function")[0]: physical
            for name, physical in self.resources("AWS::Lambda::Function")
        }

    def resources(self, kind: str) -> list[tuple[str, str]]:
        """The logical and the physical names of its resources of one kind."""
        stacks = self.emulator.client("cloudformation")
        return [
            (resource["LogicalResourceId"], resource["PhysicalResourceId"])
            for stack in self.stacks
            for resource in stacks.describe_stack_resources(StackName=stack)["StackResources"]
            if resource["ResourceType"] == kind
        ]

    def start_anew(self, function: str) -> None:
        """Have the next call of a function start it, with nothing kept from earlier ones."""
        client = self.emulator.client("lambda")
        memory_mb = client.get_function_configuration(FunctionName=function)["MemorySize"]
        client.update_function_configuration(FunctionName=function, MemorySize=memory_mb + 1)

    def log(self, function: str) -> str:
        """All that a function has written to its log."""
        logs = self.emulator.client("logs")
        config = self.emulator.client("lambda").get_function_configuration(FunctionName=function)
        group = config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function}"
        events = logs.filter_log_events(logGroupName=group)["events"]
        return "\n".join(event["message"] for event in events)

    def roles(self) -> dict[str, str]:
        """The names of its roles, by their logical names."""
        return dict(self.resources("AWS::IAM::Role"))

    def role_of(self, function: str) -> str:
        """The name of the role of a function."""
        config = self.emulator.client("lambda").get_function_configuration(FunctionName=function)
        return str(config["Role"].rpartition("/")[2])

    def granted(self, role: str) -> set[Grant]:
        """What a role is granted."""
        return {
            (action, resource)
            for document in self._policies(role).values()
            for statement in document["Statement"]
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        }

    @contextmanager
    def without(self, *taken: tuple[str, Grant]) -> Iterator[None]:
        """For the length of a `with`, each of these roles lacks the grant beside it."""
        roles = self.emulator.client("iam")

        def put(role: str, name: str, document: Any) -> None:
            if document["Statement"]:
                roles.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
            else:
                roles.delete_role_policy(RoleName=role, PolicyName=name)

        before = {role: self._policies(role) for role, _ in taken}
        try:
            for role, documents in before.items():
                grants = [grant for of, grant in taken if of == role]
                for name, document in documents.items():
                    put(role, name, {**document, "Statement": list(_without(document["Statement"], grants))})
            yield
        finally:
            for role, documents in before.items():
                for name, document in documents.items():
                    put(role, name, document)

    def _policies(self, role: str) -> dict[str, Any]:
        roles = self.emulator.client("iam")
        return {
            name: roles.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in roles.list_role_policies(RoleName=role)["PolicyNames"]
        }


def project_of(source: Path, folder: Path) -> Path:
    """A copy of a project, since a deployment writes into its folder."""
    ignored = shutil.ignore_patterns("__pycache__", ".headgate", "cdk.out", "tests")
    return Path(shutil.copytree(source, folder, ignore=ignored))


def bootstrap(emulator: Emulator, folder: Path, region: str = REGION) -> None:
    """What `cdk bootstrap` does, once for an account and a region."""
    node.install()
    folder.mkdir(parents=True, exist_ok=True)
    cdk(emulator, folder, "bootstrap", f"aws://{ACCOUNT}/{region}")


def deploy(emulator: Emulator, project: Path, stage: str = "dev", env: Mapping[str, str] = {}) -> Deployed:
    """Deploy every stack of the app in a project's folder."""
    told = project / "outputs.json"
    cdk(
        emulator, project, "deploy", "--all", "--require-approval", "never", "--outputs-file", str(told),
        *_of_the_app(stage), env=env,
    )  # fmt: skip
    outputs: dict[str, dict[str, str]] = json.loads(told.read_text())
    return Deployed(
        emulator, project, tuple(outputs), {name: value for stack in outputs.values() for name, value in stack.items()}
    )


def destroy(emulator: Emulator, project: Path, stage: str = "dev", env: Mapping[str, str] = {}) -> None:
    """Destroy every stack of the app."""
    cdk(emulator, project, "destroy", "--all", "--force", *_of_the_app(stage), env=env)


def cdk(emulator: Emulator, project: Path, *words: str, env: Mapping[str, str] = {}) -> str:
    """The CDK CLI, in a project's folder. What it prints; an AssertionError with that where it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "HEADGATE_STAGE"))}
    done = subprocess.run(
        [*toolkit.cdk(project), *words, "--no-notices"],
        cwd=project, env={**own, **toolkit_environment(), **emulator.env, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"cdk {' '.join(words)}:\n{done.stdout[-3000:]}\n{emulator.told()}"
    return done.stdout


def toolkit_environment() -> dict[str, str]:
    """What `toolkit.environment` adds to this process's own."""
    return {name: value for name, value in toolkit.environment().items() if os.environ.get(name) != value}


def _of_the_app(stage: str) -> tuple[str, ...]:
    return (
        "--app", f"{sys.executable} -m headgate.cdk",
        "-c", f"stage={stage}", "-c", f"runtime={RUNTIME}", "-c", f"architecture={ARCHITECTURE}", "-c", "packaging=zip",
    )  # fmt: skip


def _without(statements: Iterable[Any], grants: Collection[Grant]) -> Iterator[Any]:
    """The statements, one for each action and resource, but for these."""
    for statement in statements:
        pairs = product(_listed(statement["Action"]), _listed(statement["Resource"]))
        yield from ({**statement, "Action": pair[0], "Resource": pair[1]} for pair in pairs if pair not in grants)


def _listed(said: str | list[str]) -> list[str]:
    return [said] if isinstance(said, str) else said
