"""Token buckets, one a channel, as API Gateway has them: `burst` at once, `rate_per_s` in the long run."""

from __future__ import annotations

from headgate.clock import Clock
from headgate.declare.channel import Throttle


class Buckets:
    """Full when the process starts. Used from the event loop alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, channel: str, throttle: Throttle) -> float:
        """Take one token: 0 where there was one, else the seconds until there will be."""
        now_s = self._clock.elapsed_s()
        level, at_s = self._levels.get(channel, (float(throttle.burst), now_s))
        level = min(float(throttle.burst), level + (now_s - at_s) * throttle.rate_per_s)
        if level < 1:
            self._levels[channel] = (level, now_s)
            return (1 - level) / throttle.rate_per_s
        self._levels[channel] = (level - 1, now_s)
        return 0.0
