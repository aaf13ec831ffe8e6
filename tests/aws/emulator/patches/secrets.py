"""`Ref` of a secret is its ARN.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html#aws-resource-secretsmanager-secret-return-values
"""

from __future__ import annotations

from typing import Any

from ministack.services import secretsmanager
from ministack.services.cloudformation import provisioners


def install() -> None:
    """Make the ARN what CloudFormation knows a secret by."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        _, attributes = create(logical_id, props, stack_name)
        return attributes["Arn"], attributes

    def updated(physical_id: str, *rest: Any, **named: Any) -> Any:
        _, attributes = update(_name_of(physical_id), *rest, **named)
        return attributes["Arn"], attributes

    handlers["create"], handlers["update"] = created, updated
    handlers["delete"] = lambda physical_id, props: delete(_name_of(physical_id), props)


def _name_of(arn: str) -> str:
    found = (name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn)
    return next(found, arn)
