"""A load beside what is measured: deltas that stream in while something else is looked at."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from loadtest.calm import calmest
from loadtest.steady import WARM_UP_S, Steady
from loadtest.streaming import A_DELTA
from loadtest.tally import OK
from loadtest.target import Target, Window

LEAD_S = 0.5
"""The load runs for so long before the measured window begins, and after it should have ended."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A stream of deltas at a fixed rate, open loop, for as long as a window takes."""

    stream: Target
    messages_per_s: float
    deltas_per_message: int
    windows: list[Window] = field(default_factory=list)

    def window(self, measure: Callable[[], Window], seconds: float) -> Window:
        """Runs a window of so many seconds, warm-up included, while the deltas stream in."""
        whole_s = seconds + 2 * LEAD_S
        pool = ThreadPoolExecutor(1)
        try:
            streaming = pool.submit(self.stream.open, self.messages_per_s, whole_s - WARM_UP_S, WARM_UP_S)
            time.sleep(LEAD_S)
            measured = measure()
            self.windows.append(streaming.result())
        finally:
            # Not waiting: if this is unwound, the generator is ended next, and the thread with it.
            pool.shutdown(wait=False)
        return measured

    @property
    def steady(self) -> Steady:
        """The stream's own acknowledgements, in the calmer half of the windows."""
        return Steady.of(calmest(self.windows, len(self.windows) // 2 or 1))

    def figures(self) -> dict[str, object]:
        """What streamed in. The rate is the one that the server took, over all windows."""
        messages = sum(window.statuses[OK] for window in self.windows)
        steady = self.steady
        return {
            "delta": A_DELTA,
            "deltas_per_s": self.deltas_per_message * messages / sum(window.seconds for window in self.windows),
            "deltas_per_message": self.deltas_per_message,
            "ack_p50_ms": steady.p50_ms,
            "ack_p99_ms": steady.p99_ms,
            "ack_samples": steady.samples,
            "errors": sum(window.errors.total() for window in self.windows),
        }
