"""What the stacks and their outputs are called: written by the stacks, read by the command line. Imports no CDK."""

from __future__ import annotations

import re

from headgate.declare.app import App
from headgate.declare.stage import Stage

API_URL = "ApiUrl"
API_ID = "ApiId"
KEYS_TABLE = "KeysTableName"
BODIES_BUCKET = "BodiesBucketName"


def data_stack(app: App, stage: Stage) -> str:
    """The name of the stack of everything that is stored."""
    return stage.data_stack or f"{app.name}-{stage.name}-data"


def service_stack(app: App, stage: Stage) -> str:
    """The name of the stack of everything that serves."""
    return stage.service_stack or f"{app.name}-{stage.name}-service"


def channel_url(name: str) -> str:
    """The output with the URL of a channel."""
    return f"{pascal(name)}Url"


def channel_table(name: str) -> str:
    """The output with the name of a channel's table."""
    return f"{pascal(name)}TableName"


def secret_arn(name: str) -> str:
    """The output with the ARN of a Secret."""
    return f"{pascal(name)}SecretArn"


def pascal(name: str) -> str:
    """`OrderLines` for `order-lines`, `OrdersJwtKey` for `ORDERS_JWT_KEY`: CloudFormation takes letters and digits."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    return "".join(word.capitalize() if word.isupper() else word[0].upper() + word[1:] for word in words)
