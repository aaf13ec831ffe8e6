"""The tags of a bucket: CDK's own function empties those alone that are tagged for it, before they are deleted.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
"""

from __future__ import annotations

from typing import Any

from ministack.services import s3
from ministack.services.cloudformation import provisioners


def install() -> None:
    """Hand the tags over."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        made = create(logical_id, props, stack_name)
        _tag(made[0], props)
        return made

    def updated(physical_id: str, old: Any, new: dict[str, Any], stack_name: str) -> Any:
        made = update(physical_id, old, new, stack_name)
        _tag(made[0], new)
        return made

    handlers["create"], handlers["update"] = created, updated


def _tag(name: str, props: dict[str, Any]) -> None:
    if tags := props.get("Tags"):
        s3._bucket_tags[name] = {tag["Key"]: tag["Value"] for tag in tags}
