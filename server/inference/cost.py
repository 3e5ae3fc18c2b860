"""What a run takes: (fixed + per row x rows) x load, measured once and kept current while serving.

Fixed and per row are the shape, measured when nothing else goes on. The load says how many times longer runs take of
late: its mean plus two deviations, as the estimate decides whether somebody gets an answer in time. Plain floats: an
update takes half a microsecond.
"""

import math
from collections.abc import Mapping

HALF_LIFE_NS = 1_000_000_000
"""Without runs, half of what the load is above 1 is forgotten in so long: who is never asked cannot get better."""

_WEIGHT = 1 / 8
_DEVIATIONS = 2.0
_MOST_STEP = 8.0
_FLOOR_NS = 1.0
MOST_ROWS = 1 << 31


class Cost:
    """An estimate that runs correct. Times are of any monotonic clock in nanoseconds, the same for all calls."""

    __slots__ = ("_at_ns", "_fixed_ns", "_mean", "_per_row_ns", "_variance", "measured")

    def __init__(self, fixed_ns: float = 60_000.0, per_row_ns: float = 2_000.0) -> None:
        """An assumption, until there is a measurement: `measured` is False."""
        self.measured = False
        self._shape(fixed_ns, per_row_ns)

    def _shape(self, fixed_ns: float, per_row_ns: float) -> None:
        self._fixed_ns = max(fixed_ns, _FLOOR_NS)
        self._per_row_ns = max(per_row_ns, _FLOOR_NS)
        self._mean, self._variance, self._at_ns = 1.0, 0.0, 0

    def measure(self, best_ns: Mapping[int, int]) -> None:
        """Takes the shape from the best times of runs by their numbers of rows, at least one; the load becomes 1."""
        (fewest, fixed_ns), *others = sorted(best_ns.items())
        # The steepest of the slopes: the estimate must not be below any of what was measured.
        slopes = [(ns - fixed_ns) / (rows - fewest) for rows, ns in others]
        self._shape(fixed_ns, max(slopes, default=fixed_ns / fewest))
        self.measured = True

    def estimate_ns(self, rows: int, now_ns: int) -> int:
        """How long a run over so many rows will hardly exceed."""
        return int((self._fixed_ns + self._per_row_ns * rows) * self._load(now_ns))

    def rows_within(self, ns: int, now_ns: int) -> int:
        """The most rows that a run can take in so long, 0 if not even one."""
        rows = (ns / self._load(now_ns) - self._fixed_ns) / self._per_row_ns
        return 0 if rows < 1.0 else min(int(rows), MOST_ROWS)

    def observe(self, rows: int, ns: int, now_ns: int) -> None:
        """Learns from a run that finished."""
        self._forget(now_ns)
        load = ns / (self._fixed_ns + self._per_row_ns * rows)
        difference = load - self._mean
        if difference > 0.0:
            # One hiccup of the machine is not the model's: a step is bounded, but several in a row go any distance.
            difference = min(difference, self._load(now_ns) * _MOST_STEP)
            # Only deviations upwards matter, and they are half of all.
            self._variance += 2.0 * _WEIGHT * difference * difference
        self._variance *= 1.0 - _WEIGHT
        self._mean += _WEIGHT * difference

    def cut_off(self, rows: int, ns: int, now_ns: int) -> None:
        """Learns from a run that was ended after so long: it would have taken longer, so assume twice that."""
        self._forget(now_ns)
        load = 2.0 * ns / (self._fixed_ns + self._per_row_ns * rows)
        if load > self._load(now_ns):
            self._mean, self._variance = load, 0.0

    def _load(self, now_ns: int) -> float:
        load = self._mean + _DEVIATIONS * math.sqrt(self._variance)
        idle_ns = now_ns - self._at_ns
        if idle_ns > HALF_LIFE_NS and load > 1.0:
            return float(1.0 + (load - 1.0) * 0.5 ** (idle_ns / HALF_LIFE_NS))
        return load

    def _forget(self, now_ns: int) -> None:
        """Takes the time since the last run into account, as `_load` does."""
        idle_ns, self._at_ns = now_ns - self._at_ns, now_ns
        if idle_ns > HALF_LIFE_NS:
            kept = 0.5 ** (idle_ns / HALF_LIFE_NS)
            self._variance *= kept * kept
            if self._mean > 1.0:
                self._mean = 1.0 + (self._mean - 1.0) * kept
