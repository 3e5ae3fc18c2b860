"""Watches the event loop and the garbage collector: whatever holds them up holds up every caller."""

import gc
import time
from collections.abc import Callable
from typing import Any

from server.telemetry import metrics
from server.telemetry.heartbeat import Heartbeat
from server.telemetry.instruments import Distribution, Distributions

WINDOW_NS = 60_000_000_000


class LoopWatch:
    """Keeps account of how late the heartbeat came."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self.lag_s = Distribution(metrics.LOOP_LAG_SECONDS)
        self._window_began_ns = heartbeat.last_ns
        self._longest_ns = self._longest_before_ns = 0
        heartbeat.watchers.append(self.saw)

    @property
    def longest_s(self) -> float:
        """The longest delay in this window of a minute and the one before."""
        return max(self._longest_ns, self._longest_before_ns) * 1e-9

    def saw(self, lag_ns: int) -> None:
        """Takes note of a beat that came late by so much."""
        self.lag_s.observe(lag_ns * 1e-9)
        if self._heartbeat.last_ns - self._window_began_ns >= WINDOW_NS:
            self._window_began_ns = self._heartbeat.last_ns
            self._longest_before_ns, self._longest_ns = self._longest_ns, 0
        self._longest_ns = max(self._longest_ns, lag_ns)


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
