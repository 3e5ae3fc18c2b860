"""The heartbeat of the event loop: when it last had a turn, and how much later than it was meant to.

Everything of a decision runs on one loop, so that its lag is a part of every answer. Whoever is asked whether the
server lives (`idle_s`), how late answers will be (`lag_ns`), or what the lag was over time (`watchers`) asks here.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter_ns

EVERY_S = 0.01
"""A block of the loop that is shorter than this may pass unnoticed."""

_EVERY_NS = int(EVERY_S * 1e9)


class Heartbeat:
    """What the loop's turns were like. Times are nanoseconds of `clock_ns`, a monotonic clock.

    Attributes:
        last_ns: When the loop last had a turn.
        lag_ns: The least of the last three lags: what stands, as one late turn is only a hiccup.
        watchers: Called with each lag in nanoseconds; they must be quick, and raise nothing.
    """

    def __init__(self, clock_ns: Callable[[], int] = perf_counter_ns) -> None:
        self._clock_ns = clock_ns
        self._due_ns = self.last_ns = clock_ns()
        self._lags = (0, 0)
        self.lag_ns = 0
        self.watchers: list[Callable[[int], None]] = []

    def beat(self) -> None:
        """The loop has its turn; the next one is due a beat later."""
        now_ns = self._clock_ns()
        lag_ns = max(now_ns - self._due_ns, 0)
        self.last_ns, self._due_ns = now_ns, now_ns + _EVERY_NS
        self.lag_ns = min(lag_ns, *self._lags)
        self._lags = (self._lags[1], lag_ns)
        for watcher in self.watchers:
            watcher(lag_ns)

    def idle_s(self) -> float:
        """How long ago the loop last had a turn; may be asked by any thread."""
        return (self._clock_ns() - self.last_ns) * 1e-9

    async def run(self) -> None:
        """Beats for ever, on the running loop."""
        self._due_ns = self._clock_ns()
        while True:
            self.beat()
            await asyncio.sleep(EVERY_S)
