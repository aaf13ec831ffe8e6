"""What AWS's own linter says of the templates, and what cdk-nag does: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cdk.stacks import Synthesized


@pytest.mark.parametrize("name", ["message", "orders", "conformance"])
def test_cfn_lint_finds_nothing(name: str, request: pytest.FixtureRequest) -> None:
    made: Synthesized = request.getfixturevalue(name)
    templates = [str(template.path) for template in made.templates()]
    # W3005: CDK's own functions say DependsOn beside a reference that implies it.
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([lint, "-i", "W3005", "--", *templates], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
