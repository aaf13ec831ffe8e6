"""A front of `headgate serve --processes N`, in a process of its own: `python -m headgate.cli.front JSON`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from headgate.cli import told
from headgate.cli.place import Place
from headgate.cli.serving import set_up_logging
from headgate.clock import SystemClock
from headgate.local.front import Front
from headgate.local.signals import enders


class Orders(NamedTuple):
    """What a front is started with. `link` and `door` are inherited descriptors; `share` says one in how many it is."""

    target: str
    state: str
    share: int
    proxied: bool
    log_format: str
    link: int = -1
    door: int = -1

    def command(self, link: int, door: int) -> Sequence[str]:
        """The command line of a front."""
        bytecode = ["-B"] if sys.flags.dont_write_bytecode else []
        orders = json.dumps(self._replace(link=link, door=door))
        return [sys.executable, "-P", *bytecode, "-m", "headgate.cli.front", orders]


def stand(orders: Orders) -> None:
    """Load the app, and serve what comes."""
    for number in (*enders(), signal.SIGINT):  # the main process says when to stop
        signal.signal(number, signal.SIG_IGN)
    set_up_logging(orders.log_format)
    place = Place(orders.target, Path(orders.state))
    settings = place.state.settings(place.app, os.environ, invent=False)
    link, door = socket.socket(fileno=orders.link), socket.socket(fileno=orders.door)
    Front(place.app, settings, SystemClock(), link, door, share=orders.share, proxied=orders.proxied).run()


if __name__ == "__main__":
    told(lambda: stand(Orders(*json.loads(sys.argv[1]))))
