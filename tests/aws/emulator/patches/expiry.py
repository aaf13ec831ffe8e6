"""Time to live: set by the template, and late.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html: expired items are deleted within a few days.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import AccountRegionScopedDict
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners


class _KeptFromTheReaper(AccountRegionScopedDict):  # type: ignore[misc]
    """Settings that answer whoever asks for one table, and tell of none to whoever goes through all."""

    def all_items(self) -> list[Any]:
        return []


def install() -> None:
    """Hand the setting over, and never delete what has expired."""
    create, update = provisioners._ddb_create, provisioners._ddb_update
    dynamodb._ttl_settings = _KeptFromTheReaper()

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        made = create(logical_id, props, stack_name)
        _set(made[0], props)
        return made

    def updated(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **named: Any) -> Any:
        made = update(physical_id, old, new, *rest, **named)
        _set(made[0] if isinstance(made, tuple) else physical_id, new)
        return made

    _handlers()["create"], _handlers()["update"] = created, updated


def _set(table: str, props: dict[str, Any]) -> None:
    if wanted := props.get("TimeToLiveSpecification"):
        enabled = str(wanted.get("Enabled", True)).lower() == "true"
        dynamodb._update_ttl(
            {"TableName": table, "TimeToLiveSpecification": {**wanted, "Enabled": enabled}},
        )


def _handlers() -> dict[str, Any]:
    handlers: dict[str, Any] = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    return handlers
