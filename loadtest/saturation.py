"""How many calls a server answers when it always has work, and what one of them costs it.

Cost per call is the steadier figure: the generator shares the cores with the server, so a rate is a lower
bound.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from loadtest.calm import in_turn, is_calm
from loadtest.progress import say
from loadtest.target import Target, Window

CALLERS = (8, 16, 32, 64, 128, 256)
GROWTH_MIN = 1.05
"""A rate that grows by less than this has stopped growing."""
MISSES_MAX = 2

SEARCH_S, WINDOW_S = 1.0, 2.0
WINDOWS, ROUNDS_MAX = 4, 10


@dataclass(frozen=True, slots=True)
class Saturation:
    """What a saturated server did in the windows that count."""

    rate_rps: float
    cpu_us_per_call: float
    server_cores: float
    generator_cores: float
    generator_us_per_call: float
    generator_bound: bool
    steal_percent: float
    others_percent: float
    errors: Counter[str]
    rungs: Counter[str]
    callers: int

    @classmethod
    def of(cls, windows: Sequence[Window], callers: int) -> Self:
        """The median rate, and the cost of all calls of all windows together."""
        calls = sum(window.calls for window in windows)
        return cls(
            rate_rps=statistics.median(window.rate_rps for window in windows),
            cpu_us_per_call=1e6 * sum(window.server_cpu_s for window in windows) / calls,
            server_cores=statistics.fmean(window.server_cores for window in windows),
            generator_cores=statistics.fmean(window.generator_cores for window in windows),
            generator_us_per_call=1e6 * sum(window.generator_cpu_s for window in windows) / calls,
            generator_bound=2 * sum(window.generator_bound for window in windows) > len(windows),
            steal_percent=max(window.steal_percent for window in windows),
            others_percent=max(window.others_percent for window in windows),
            errors=sum((window.errors for window in windows), Counter[str]()),
            rungs=sum((window.rungs for window in windows), Counter[str]()),
            callers=callers,
        )


def saturate(targets: Sequence[Target], windows: int = WINDOWS) -> list[Saturation]:
    """Measures all targets in turn with as many callers as the one that needs most of them.

    More callers than a server needs only wait, but calls that arrive together cost less each: with different
    numbers of them the costs would not compare.
    """
    callers = max(_callers_of(target) for target in targets)
    say(f"{callers} callers: {windows} or more windows of {WINDOW_S:.0f} s each, in turn")
    measures = [_measure(target, callers) for target in targets]
    taken = in_turn(measures, windows, max(ROUNDS_MAX, windows))
    return [Saturation.of(each, callers) for each in taken]


def _measure(target: Target, callers: int) -> Callable[[], Window]:
    return lambda: target.closed(callers, WINDOW_S)


def _callers_of(target: Target) -> int:
    target.closed(CALLERS[0], SEARCH_S)  # The first calls open connections and fill caches.
    return saturating(lambda callers: _rate(target, callers))


def saturating(rate_with: Callable[[int], float]) -> int:
    """The fewest callers beyond which the rate does not grow: twice, because one window may be unlucky."""
    best, best_rate, misses = CALLERS[0], rate_with(CALLERS[0]), 0
    for callers in CALLERS[1:]:
        rate = rate_with(callers)
        if rate >= best_rate * GROWTH_MIN:
            best, best_rate, misses = callers, rate, 0
        else:
            misses += 1
        if misses == MISSES_MAX:
            break
    return best


def _rate(target: Target, callers: int) -> float:
    """The rate with so many callers; measured once more if the machine was not calm."""
    window = target.closed(callers, SEARCH_S)
    if not is_calm(window):
        window = target.closed(callers, SEARCH_S)
    say(f"{target.name}: {callers:3} callers  {window.rate_rps:7,.0f} calls/s  {window.disturbance}")
    return window.rate_rps
