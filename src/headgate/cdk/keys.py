"""Credentials: the table of API keys, and the secrets that an app names."""

from __future__ import annotations

from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from headgate.aws.layout import API_KEYS
from headgate.cdk.acknowledged import acknowledge
from headgate.cdk.index import plain_table
from headgate.cdk.removal import removal

_LENGTH = 48  # of 62 characters each: 285 random bits


class KeysTable(Construct):
    """Where API keys are kept, as hashes. `headgate keys --stage` writes it."""

    def __init__(self, scope: Construct, id: str, *, retains: bool) -> None:
        super().__init__(scope, id)
        self.table = plain_table(self, API_KEYS, retains=retains)


class NamedSecret(Construct):
    """A `Secret("NAME")` of the app: made up at the first deployment, and yours to replace in Secrets Manager."""

    def __init__(self, scope: Construct, id: str, *, name: str, retains: bool) -> None:
        super().__init__(scope, id)
        self.name = name
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description=f'Secret("{name}") of the app',
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=_LENGTH
            ),
            removal_policy=removal(retains=retains),
        )
        acknowledge(
            self.secret,
            "AwsSolutions-SMG4",
            "Its other half is with whoever signs tokens or webhooks, so that it can only change when both do.",
        )
