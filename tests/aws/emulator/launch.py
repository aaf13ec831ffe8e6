"""The process of the emulator: ministack, mended or as it is, on loopback, over TLS and plainly.

Started by tests/aws/emulator/process.py; it ends with the process OWNER names.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.aws.emulator.departures import patches

_WATCH_S = 0.5


def main() -> None:
    """Run until the owner is gone. Everything the emulator starts is of its process group, and ends with it."""
    owner = int(os.environ.pop("EMULATOR_OWNER"))
    stock = os.environ.pop("EMULATOR_MODE") == "stock"
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _end())
    if not stock:
        for patch in patches():
            importlib.import_module(f"tests.aws.emulator.patches.{patch}").install()
        _start_wire(os.environ["EMULATOR_WIRE_PORT"], Path(os.environ["EMULATOR_LEDGER"]))
    asyncio.run(_serve())


def _start_wire(port: str, folder: Path) -> None:
    """In a process of its own, so that it never waits for the emulator."""
    from ministack.core import tls

    from tests.aws.emulator import ledger

    ledger.install(folder)
    words = (port, os.environ["GATEWAY_PORT"], *tls.resolve_tls_material(), str(folder))
    subprocess.Popen([sys.executable, "-m", "tests.aws.emulator.wire", *words])


async def _serve() -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app
    from ministack.core import tls

    from tests.aws.emulator.sent import remembering

    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['GATEWAY_PORT']}"]
    config.insecure_bind = [f"127.0.0.1:{os.environ['EMULATOR_PLAIN_PORT']}"]
    config.certfile, config.keyfile = tls.resolve_tls_material()
    config.keep_alive_timeout = 75
    config.h11_pass_raw_headers = True
    config.h11_max_incomplete_size = 64 * 1024
    await serve(remembering(app), config)


def _end_with(owner: int) -> None:
    while True:
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            _end()
        time.sleep(_WATCH_S)


def _end() -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
