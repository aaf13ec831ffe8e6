"""headgate serve"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from headgate.cli.listening import host_option, log_format_option, port_option, socket_on
from headgate.cli.place import Place, placed

if TYPE_CHECKING:
    from headgate.cli.serving import Serving
    from headgate.local.server import Server

_INHERITED = "HEADGATE_INHERITED_SOCKET"


@click.command
@click.argument("app", required=False)
@host_option
@port_option
@click.option("--proxy-headers", is_flag=True, help="Believe X-Forwarded-For of a proxy on this machine, for the log.")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Receive and validate in so many, before the one that stores; 1 does it all by itself.",
)
@log_format_option
@placed
def serve(
    place: Place, app: str | None, host: str, port: int, proxy_headers: bool, processes: int, log_format: str
) -> None:
    """Serve the app.

    Secrets come from the environment; all that are missing are named. SIGTERM, or a
    terminal that closes, finishes the requests in flight and ends it; nohup keeps it serving.

    \b
    Example:
      ORDERS_JWT_SECRET=... headgate serve --host 0.0.0.0 --port 80
    """
    from headgate.cli.serving import check_settings, greet, leave_when_told, serve_app, set_up_logging
    from headgate.clock import SystemClock

    leave_when_told()
    set_up_logging(log_format)
    place = place.at(app)
    clock = SystemClock()
    settings = place.state.settings(place.app, os.environ, invent=False)
    check_settings(place.app, settings, clock)
    restarted = _INHERITED in os.environ
    sock = socket.socket(fileno=int(os.environ.pop(_INHERITED))) if restarted else socket_on(host, port, place.state)
    left_over = serve_app(
        place.app,
        settings,
        place.state,
        sock,
        clock,
        target=place.target,
        running=_running(place, processes, proxy_headers, log_format),
        opened=lambda *_: None if restarted else greet(place.app, sock, place.state),
    )
    if left_over is not None:
        _start_over(left_over)


def _running(
    place: Place, processes: int, proxy_headers: bool, log_format: str
) -> Callable[[Server, socket.socket], Serving]:
    """What serves: this process, or `processes` fronts before it."""
    if processes == 1:
        from headgate.local.server import Running

        return partial(Running, proxy_headers=proxy_headers)
    from headgate.cli.front import Orders
    from headgate.local.fronts import Fronts

    orders = Orders(place.target, str(place.state.path), processes, proxy_headers, log_format)
    return partial(Fronts, many=processes, command=orders.command)


def _start_over(sock: socket.socket) -> NoReturn:
    """Become a new process, with the same command line and the same socket: senders wait, none is turned away."""
    logging.getLogger("headgate.cli").warning("starting over in a new process, since the store failed")
    sock.set_inheritable(True)
    os.environ[_INHERITED] = str(sock.fileno())
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line
