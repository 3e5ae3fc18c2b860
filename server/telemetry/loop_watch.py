"""Watches the event loop and the garbage collector: whatever holds them up holds up every caller."""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

from server.telemetry import metrics
from server.telemetry.instruments import Distribution, Distributions

EVERY_S = 0.05
WINDOW_S = 60.0


class LoopWatch:
    """Measures how late the loop comes to a task that is due every 50 ms.

    A block that begins and ends between two turns of the task goes unseen, and of a longer one the first part: what is
    told is at most 50 ms too little.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.lag_s = Distribution(metrics.LOOP_LAG_SECONDS)
        self.turned_s = clock()
        """When the loop last came round; may be read by any thread."""
        self._window_began_s = self.turned_s
        self._longest_s = self._longest_before_s = 0.0

    @property
    def longest_s(self) -> float:
        """The longest delay in this window of a minute and the one before."""
        return max(self._longest_s, self._longest_before_s)

    def idle_s(self) -> float:
        """How long ago the loop last came round."""
        return self._clock() - self.turned_s

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            due_s = self._clock() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.turn(due_s)

    def turn(self, due_s: float) -> None:
        """Takes note of a turn that was due at a time."""
        now_s = self.turned_s = self._clock()
        late_s = max(now_s - due_s, 0.0)
        self.lag_s.observe(late_s)
        if now_s - self._window_began_s >= WINDOW_S:
            self._window_began_s = now_s
            self._longest_before_s, self._longest_s = self._longest_s, 0.0
        self._longest_s = max(self._longest_s, late_s)


class GcWatch:
    """Measures the runs of the garbage collector, from `start` to `stop`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.pauses_s = Distributions(metrics.GC_SECONDS)
        self._of = [self.pauses_s.of(str(generation)) for generation in range(3)]
        self._began_s = 0.0

    def start(self) -> None:
        """Begins to listen to the collector."""
        gc.callbacks.append(self.noted)

    def stop(self) -> None:
        """Ends listening."""
        gc.callbacks.remove(self.noted)

    def noted(self, phase: str, info: dict[str, Any]) -> None:
        """What the collector calls before and after a run."""
        if phase == "start":
            self._began_s = self._clock()
        else:
            self._of[info["generation"]].observe(self._clock() - self._began_s)
