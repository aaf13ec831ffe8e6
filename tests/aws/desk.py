"""Where the headgate command is typed against an emulator."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headgate.cdk.outputs import API_URL
from tests.aws.emulator.process import PATIENT, Emulator
from tests.aws.emulator.versions import ARCHITECTURE, RUNTIME
from tests.cli.shell import Done, run
from tests.serving import headgate


class Desk:
    """A project, and the command typed in it."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        patient = {"PYTHONPATH": str(PATIENT)}
        self._env = {**emulator.env, **patient, "HEADGATE_STAGE": "", "SSL_CERT_FILE": emulator.certificate}

    def type(self, *words: str, typed: str = "", env: Mapping[str, str] = {}) -> Done:
        return run(self.folder, *words, env={**self._env, **env}, typed=typed, patience_s=1500)

    @contextmanager
    def typing(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that is at work, for the length of a `with`; then it is killed, if it has not ended."""
        process = subprocess.Popen(
            headgate(*words), cwd=self.folder, env={**os.environ, **self._env}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def told(self, *words: str) -> Any:
        done = self.type(*words, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    def at(self, outputs: Mapping[str, str]) -> tuple[str, str]:
        """What makes `send` go to the emulator, which does not serve at the address that AWS would."""
        return "--url", self.emulator.plain_url(outputs[API_URL])


def project(folder: Path, emulator: Emulator, app: str) -> Desk:
    """A new one, whose functions run here when it is deployed."""
    folder.mkdir()
    (folder / "app.py").write_text(app)
    (folder / "cdk.json").write_text(json.dumps({"context": {"runtime": RUNTIME, "architecture": ARCHITECTURE}}))
    return Desk(folder, emulator)
