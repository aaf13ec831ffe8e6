"""What tells a server to end, beside Ctrl-C."""

from __future__ import annotations

import signal


def enders() -> tuple[signal.Signals, ...]:
    """SIGTERM; and SIGHUP, which comes when its terminal closes, but for a server that `nohup` has made deaf to it."""
    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM,) if is_deaf else (signal.SIGTERM, signal.SIGHUP)
