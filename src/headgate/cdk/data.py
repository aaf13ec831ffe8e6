"""The stack of everything that is stored: tables, the bucket of large bodies, API keys, secrets."""

from __future__ import annotations

from collections.abc import Iterator

from aws_cdk import CfnOutput, Fn, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from headgate.cdk import outputs
from headgate.cdk.bodies import BodiesBucket
from headgate.cdk.fit import check_fit
from headgate.cdk.index import IndexTable
from headgate.cdk.keys import KeysTable, NamedSecret
from headgate.declare.app import App
from headgate.declare.auth import ApiKey
from headgate.declare.settings import Secret
from headgate.declare.stage import Stage


class DataStack(Stack):
    """What must outlive a mistake in what serves it.

    `tables` and `secrets` by the names of channels and Secrets; `keys` is None where no channel takes API keys.
    """

    def __init__(self, scope: Construct, id: str, *, app: App, stage: Stage, **options: object) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        check_fit(app)
        retains = stage.retains
        self.tables = {
            channel.name: IndexTable(self, f"{outputs.pascal(channel.name)}Index", channel=channel, retains=retains)
            for channel in app.channels
        }
        self.bodies = BodiesBucket(self, "Bodies", channels=app.channels, retains=retains)
        asks_for_keys = any(isinstance(channel.auth, ApiKey) for channel in app.channels)
        self.keys = KeysTable(self, "Keys", retains=retains) if asks_for_keys else None
        secrets = Construct(self, "Secrets")
        self.secrets = {
            name: NamedSecret(secrets, outputs.pascal(name), name=name, retains=retains)
            for name in sorted({setting.name for _, setting in app.settings() if isinstance(setting, Secret)})
        }
        for name, value in self._told():
            CfnOutput(self, name, value=value, export_name=_export(self, name))

    def _told(self) -> Iterator[tuple[str, str]]:
        for channel, index in self.tables.items():
            yield outputs.channel_table(channel), index.table.table_name
        yield outputs.BODIES_BUCKET, self.bodies.bucket.bucket_name
        if self.keys is not None:
            yield outputs.KEYS_TABLE, self.keys.table.table_name
        for name, secret in self.secrets.items():
            yield outputs.secret_arn(name), secret.secret.secret_arn


class Imported:
    """What a DataStack holds, as another stack sees it: by the exports of its outputs, under names that can be told."""

    def __init__(self, scope: Construct, data: DataStack) -> None:
        place = Construct(scope, "Data")

        def table(output: str) -> dynamodb.ITable:
            return dynamodb.Table.from_table_name(place, output, Fn.import_value(_export(data, output)))

        def secret(output: str) -> secretsmanager.ISecret:
            arn = Fn.import_value(_export(data, output))
            return secretsmanager.Secret.from_secret_complete_arn(place, output, arn)

        bucket_name = Fn.import_value(_export(data, outputs.BODIES_BUCKET))
        self.bodies = s3.Bucket.from_bucket_name(place, outputs.BODIES_BUCKET, bucket_name)
        self.tables = {channel: table(outputs.channel_table(channel)) for channel in data.tables}
        self.keys = None if data.keys is None else table(outputs.KEYS_TABLE)
        self.secrets = {name: secret(outputs.secret_arn(name)) for name in data.secrets}


def _export(stack: Stack, output: str) -> str:
    return f"{stack.stack_name}-{output}"
