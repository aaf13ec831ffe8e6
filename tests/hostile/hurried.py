"""Starts the server with little patience, so that slow senders need not be waited for.

usage: hurried.py APP STATE PORT
"""

from __future__ import annotations

import sys

from headgate.cli import main
from headgate.local.protocol import GateProtocol

if __name__ == "__main__":
    app, state, port = sys.argv[1:]
    GateProtocol.header_time_s = GateProtocol.body_time_s = GateProtocol.keep_alive_s = 1.5
    sys.argv = ["headgate", "serve", "--app", app, "--state", state, "--port", port]
    main()
