"""What a crash left behind goes on: overdue rows are put into their queue again, or finished where there is none."""

from __future__ import annotations

from typing import Any

from headgate.aws.driver import Brought, Driver
from headgate.aws.duties import working
from headgate.aws.envelope import Where
from headgate.aws.postbox import Letter
from headgate.aws.rooms import Rooms
from headgate.engine import OPEN, Outcome
from headgate.gate.finish import LEASE_MS, finish

_MOST = 500


class Sweep:
    """One channel's; called on a schedule."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def sweep(self, remaining_s: float) -> dict[str, Any]:
        """How many messages go on."""
        self._rooms.clients.within(remaining_s)
        match self._rooms.channel:
            case channel if channel.finishes:
                found = self._finish()
                if channel.start is not None:
                    self._tell_dead()
            case channel if channel.stream is not None:
                found = self._place()
            case _:
                found = self._put_back()
                self._tell_dead()
        self._rooms.metrics.write()
        return {"swept": found}

    def _tell_dead(self) -> None:
        name = self._rooms.channel.name
        self._rooms.metrics.tell_dead(name, self._rooms.queue.dead_letters(name))

    def _put_back(self) -> int:
        """A message that SQS has handed over comes back after the visibility timeout if its worker has died, and one
        that waits there is as late as the queue is old. Only what is later than both has no message in SQS any more."""
        delivery = self._rooms.channel.queue
        if delivery is None:
            return 0
        visibility_ms = 1000 * working(self._rooms.channel, delivery).visibility_s
        by_ms = visibility_ms
        if self._rooms.postbox.waiting():
            age_s = self._rooms.postbox.age_s(self._rooms.clock)
            if age_s is None:
                return 0
            by_ms += round(1000 * age_s)
        name = self._rooms.channel.name
        letters = []
        for scope, key in self._rooms.queue.overdue(name, by_ms, _MOST):
            found = self._rooms.queue.swept(name, scope, key, visibility_ms)
            if found is not None:
                order, place = found
                once = f"{scope}\n{key}\n{self._rooms.clock.now_ms()}"
                letters.append(Letter(Where(scope, key, place), order, once))
        self._rooms.postbox.post(letters)
        return len(letters)

    def _place(self) -> int:
        """Rows in a scope are dead letters that were put back, and their consumer's affair."""
        name = self._rooms.channel.name
        mine = [where for where in self._rooms.queue.overdue(name, LEASE_MS, _MOST) if not where[0]]
        rows = [self._rooms.index.get(name, *where) for where in mine]
        open_ = [row for row in rows if row is not None and row.status in OPEN]
        return sum(place is not None for place in self._rooms.once.place(open_))

    def _finish(self) -> int:
        channel, index = self._rooms.channel, self._rooms.index
        rows = [index.get(channel.name, *where) for where in self._rooms.queue.overdue(channel.name, LEASE_MS, _MOST)]
        messages = [row for row in rows if row is not None]
        driver = Driver(index, finishing=self._rooms.finishing)
        steps = finish(channel, self._rooms.clock, messages, [Outcome("stored")] * len(messages))
        return sum(outcome.kind == "stored" for outcome in driver.run(steps, Brought()))
