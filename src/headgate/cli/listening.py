"""Where a server listens, and how it logs, as `dev` and `serve` are told it. The server itself is not loaded here."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import click

from headgate import limits
from headgate.cli.place import visible
from headgate.errors import Misuse

if TYPE_CHECKING:
    from headgate.local.state import StateFolder

host_option = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
port_option = click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 takes a free one."
)
log_format_option = click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="Of the log, on stderr.",
)


def socket_on(host: str, port: int, state: StateFolder) -> socket.socket:
    """A listening socket. Raises Misuse, with the way out, where it cannot be had; for a port that this very app is
    served at, from its state folder, that is another one than for a stranger's."""
    try:
        return _listen(host, port)
    except socket.gaierror:
        raise Misuse(f"There is no address {visible(host)} to listen on; say another --host.") from None
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE if (holder := state.holder()) is not None and holder.url.endswith(f":{port}"):
                raise Misuse(
                    f"{state.path} is in use by {holder}. Stop it, or say another --port and another --state folder."
                ) from None
            case errno.EADDRINUSE:
                raise Misuse(f"Port {port} is in use by another program; say another --port, or --port 0.") from None
            case errno.EADDRNOTAVAIL:
                raise Misuse(f"This machine has no address {visible(host)}; say another --host.") from None
            case errno.EACCES:
                raise Misuse(f"Port {port} is for the system administrator; say a --port above 1023.") from None
        raise


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(limits.CONNECTIONS.value)
    except OSError:
        sock.close()
        raise
    return sock
