"""The stack of everything that serves: functions, authorizers, the API. It stores nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from headgate.aws.settings import Settings
from headgate.cdk import outputs, policy
from headgate.cdk.data import DataStack, Imported
from headgate.cdk.fit import check_fit
from headgate.cdk.functions import Functions, Package
from headgate.cdk.ingress import Handlers, Ingress, TokenAuthorizer
from headgate.declare.app import App
from headgate.declare.auth import ApiKey, Iam, Public, Signed
from headgate.declare.channel import Channel
from headgate.declare.settings import Env, Secret
from headgate.declare.stage import Stage
from headgate.errors import Misuse

_HANDLERS = "headgate.aws.lambdas"


class ServiceStack(Stack):
    """What serves the app. `reference` is where a function finds it: `module:attribute` in the package."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        app: App,
        stage: Stage,
        data: DataStack,
        package: Package,
        reference: str,
        **options: object,
    ) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        check_fit(app)
        self.add_stack_dependency(data)
        self._app, self._stage, self._reference = app, stage, reference
        self._data = Imported(self, data)
        self._functions = Functions(self, "Functions", package=package, stage=stage)
        authorizers = self._authorizers()
        self.ingress = Ingress(
            self,
            "Ingress",
            app=app,
            stage=stage,
            handlers={
                channel.name: Handlers(self._ingest(channel), self._query(channel), authorizers.get(channel.name))
                for channel in app.channels
            },
        )
        told = {outputs.API_URL: self.ingress.api.url, outputs.API_ID: self.ingress.api.rest_api_id}
        told |= {outputs.channel_url(channel.name): self.ingress.url(channel) for channel in app.channels}
        for name, value in told.items():
            CfnOutput(self, name, value=value, export_name=f"{self.stack_name}-{name}")

    def _ingest(self, channel: Channel) -> lambda_.Function:
        return self._serving(channel, "ingest", f"Takes in what is posted to {channel.path}", policy.ingest)

    def _query(self, channel: Channel) -> lambda_.Function | None:
        if not channel.read:
            return None
        return self._serving(channel, "query", f"Reads back what was posted to {channel.path}", policy.query)

    def _serving(self, channel: Channel, duty: str, description: str, granted: policy.Duty) -> lambda_.Function:
        table, bodies = self._data.tables[channel.name], self._data.bodies
        # A signature is one of the body, which an authorizer does not get: the function verifies it itself.
        secrets = self._secrets_of([channel]) if isinstance(channel.auth, Signed) else []
        return self._functions.add(
            f"{outputs.pascal(channel.name)}{duty.capitalize()}",
            handler=f"{_HANDLERS}.{duty}.handler",
            description=description[:256],
            environment=self._environment([channel], secrets, table=table.table_name, bodies=bodies.bucket_name),
            grants=[*granted(channel, table, bodies), *self._reading(secrets)],
        )

    def _authorizers(self) -> dict[str, apigateway.IAuthorizer]:
        """One for each auth that is declared, by the names of the channels that declare it."""
        found: dict[str, apigateway.IAuthorizer] = {}
        for channels in _by_auth(self._app.channels):
            auth = channels[0].auth
            name = outputs.pascal(channels[0].name)
            secrets = self._secrets_of(channels)
            keys = self._data.keys if isinstance(auth, ApiKey) else None
            function = self._functions.add(
                f"{name}Authorizer",
                handler=f"{_HANDLERS}.authorizer.handler",
                description=f"Finds out who posts to {', '.join(channel.path for channel in channels)}"[:256],
                environment=self._environment(channels, secrets, keys="" if keys is None else keys.table_name),
                grants=[
                    *([] if keys is None else policy.look_up_keys(keys)),
                    *self._reading(secrets),
                ],
            )
            made = TokenAuthorizer(self, f"{name}Auth", auth=auth, function=function)
            found |= {channel.name: made.authorizer for channel in channels}
        return found

    def _environment(
        self, channels: Sequence[Channel], secrets: Sequence[str], *, table: str = "", bodies: str = "", keys: str = ""
    ) -> dict[str, str]:
        settings = Settings(
            app=self._reference,
            stage=self._stage.name,
            channels=tuple(channel.name for channel in channels),
            table=table,
            bodies=bodies,
            keys=keys,
            secrets={name: self._data.secrets[name].secret_arn for name in secrets},
        )
        return settings.written() | _env_of(self._app)

    def _secrets_of(self, channels: Sequence[Channel]) -> list[str]:
        """The names of the Secrets that the auth of channels refers to."""
        asked = self._app.settings()
        return sorted({it.name for channel, it in asked if channel in channels and isinstance(it, Secret)})

    def _reading(self, secrets: Sequence[str]) -> list[policy.Grant]:
        return policy.read_secrets([self._data.secrets[name] for name in secrets])


def _by_auth(channels: Iterable[Channel]) -> list[list[Channel]]:
    """The channels that an authorizer guards, those together that declare the same auth."""
    groups: list[list[Channel]] = []
    for channel in channels:
        if isinstance(channel.auth, Public | Signed | Iam):
            continue
        group = next((group for group in groups if group[0].auth == channel.auth), None)
        if group is None:
            groups.append([channel])
        else:
            group.append(channel)
    return groups


def _env_of(app: App) -> dict[str, str]:
    """What `Env("X")` is where the stacks are made. Raises Misuse where it is nothing."""
    found = {}
    for owner, setting in app.settings():
        if isinstance(setting, Env):
            value = os.environ.get(setting.name) or setting.default
            if not value:
                raise Misuse(f"{owner.where}: {setting.name} is not set: set it, then synthesize again.")
            found[setting.name] = value
    return found
