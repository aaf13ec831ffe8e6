"""The path of a method setting: `~1` stands for a slash.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html
"""

from __future__ import annotations

from typing import Any

from ministack.services.cloudformation import provisioners


def install() -> None:
    """Amend what CloudFormation makes of MethodSettings."""
    settings = provisioners._apigw_method_settings

    def made(raw: Any) -> Any:
        return settings([_amended(setting) for setting in raw] if isinstance(raw, list) else raw)

    provisioners._apigw_method_settings = made


def _amended(setting: dict[str, Any]) -> dict[str, Any]:
    path = setting.get("ResourcePath", "/*")
    if path == "/*":
        return setting
    return {**setting, "ResourcePath": "/" + path.replace("~1", "/").lstrip("/")}
