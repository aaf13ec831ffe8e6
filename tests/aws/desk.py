"""Where the headgate command is typed against an emulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.cdk.outputs import API_URL
from tests.aws.emulator.process import Emulator
from tests.cli.shell import Done, run


class Desk:
    """A project, and the command typed in it."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        self._env = {**emulator.env, "HEADGATE_STAGE": "", "SSL_CERT_FILE": emulator.certificate}

    def type(self, *words: str, typed: str = "", env: Mapping[str, str] = {}) -> Done:
        return run(self.folder, *words, env={**self._env, **env}, typed=typed, patience_s=240)

    def told(self, *words: str) -> Any:
        done = self.type(*words, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    def at(self, outputs: Mapping[str, str]) -> tuple[str, str]:
        """What makes `send` go to the emulator, which does not serve at the address that AWS would."""
        return "--url", self.emulator.plain_url(outputs[API_URL])
