"""Latency at a rate that a server can hold: open loop, in slices, several servers in turn."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from loadtest.calm import in_turn
from loadtest.latency import Latencies
from loadtest.progress import say
from loadtest.target import Target, Window

SLICE_S = 2.5
WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Steady:
    """Latencies from the intended send time, in milliseconds, over all slices that count.

    `lateness_p99_ms` is how late the generator itself sent, which the latencies contain.
    """

    p50_ms: float
    p99_ms: float
    p999_ms: float
    samples: int
    lateness_p99_ms: float
    steal_percent: float
    others_percent: float
    errors: Counter[str]
    rungs: Counter[str]
    curve: Mapping[str, float]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> Self:
        """Merges the histograms of all windows."""
        latencies = Latencies.merged(window.latencies for window in windows)
        return cls(
            p50_ms=latencies.percentile_ms(50),
            p99_ms=latencies.percentile_ms(99),
            p999_ms=latencies.percentile_ms(99.9),
            samples=latencies.count,
            lateness_p99_ms=Latencies.merged(window.lateness for window in windows).percentile_ms(99),
            steal_percent=max(window.steal_percent for window in windows),
            others_percent=max(window.others_percent for window in windows),
            errors=sum((window.errors for window in windows), Counter[str]()),
            rungs=sum((window.rungs for window in windows), Counter[str]()),
            curve=latencies.curve(),
        )


def hold(targets: Sequence[Target], rate_rps: float, seconds: float) -> list[Steady]:
    """Holds the rate on each target for so many calm seconds, warm-up apart; at most twice that long."""
    slices = ceil(seconds / SLICE_S)
    say(f"Open loop at {rate_rps:,.0f} calls/s: {slices} or more slices of {seconds / slices:.1f} s, in turn")
    measures = [_measure(target, rate_rps, seconds / slices) for target in targets]
    return [Steady.of(windows) for windows in in_turn(measures, slices, 2 * slices)]


def _measure(target: Target, rate_rps: float, seconds: float) -> Callable[[], Window]:
    return lambda: target.open(rate_rps, seconds, WARM_UP_S)
