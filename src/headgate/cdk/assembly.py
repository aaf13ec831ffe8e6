"""What the CDK wrote: the templates of the stacks, and the assets they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

_LAYER = "AWS::Lambda::LayerVersion"


class StackTemplate(NamedTuple):
    """A stack and its template, as CloudFormation is sent it."""

    name: str
    template: dict[str, Any]

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources by their logical ids."""
        found: dict[str, dict[str, Any]] = self.template.get("Resources", {})
        return found


@dataclass(frozen=True)
class Assembly:
    """The folder that `cdk synth` writes, `cdk.out` by default."""

    folder: Path

    @cached_property
    def stacks(self) -> list[StackTemplate]:
        """The stacks, in the order of their names."""
        artifacts = _read(self.folder / "manifest.json")["artifacts"].items()
        found = [(name, it["properties"]) for name, it in artifacts if it["type"] == "aws:cloudformation:stack"]
        return sorted(
            StackTemplate(properties.get("stackName", name), _read(self.folder / properties["templateFile"]))
            for name, properties in found
        )

    def layers(self) -> list[Path]:
        """The zips of the layers that the templates name, each once."""
        files = self._assets()
        keys = [
            resource["Properties"]["Content"]["S3Key"]
            for stack in self.stacks
            for resource in stack.resources.values()
            if resource["Type"] == _LAYER
        ]
        return [files[key] for key in dict.fromkeys(keys) if key in files]

    @property
    def has_images(self) -> bool:
        """Whether container images are built when it is deployed."""
        return any(_read(listed).get("dockerImages") for listed in self.folder.glob("*.assets.json"))

    def _assets(self) -> dict[str, Path]:
        """Files by the key they get in the bucket."""
        return dict(self._named_assets())

    def _named_assets(self) -> Iterator[tuple[str, Path]]:
        for listed in sorted(self.folder.glob("*.assets.json")):
            for asset in _read(listed)["files"].values():
                for destination in asset["destinations"].values():
                    yield destination["objectKey"], self.folder / asset["source"]["path"]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
