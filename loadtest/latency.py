"""Latencies in an HDR histogram: 1 microsecond to 1 minute, each within 0.1 %."""

from collections.abc import Iterable
from typing import Self

from hdrh.histogram import HdrHistogram

US_PER_S = 1_000_000
LONGEST_US = 60 * US_PER_S
CURVE = (50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
"""The percentiles that a curve is drawn through."""


class Latencies:
    """Counts durations and says which of them a share of the calls stayed below."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, 3)

    def record(self, seconds: float) -> None:
        """Counts one; anything beyond a minute counts as a minute, never as nothing."""
        self._histogram.record_value(min(max(round(seconds * US_PER_S), 1), LONGEST_US))

    def percentile_ms(self, percent: float) -> float:
        """The duration that this many percent of the calls did not exceed; 0 if there were none."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1000 if self.count else 0.0

    def curve(self) -> dict[str, float]:
        """Milliseconds by percentile, as far out as there are ten calls beyond: further out it is chance."""
        beyond = (percent for percent in CURVE if self.count * (100 - percent) >= 1_000)
        return {f"{percent:g}": self.percentile_ms(percent) for percent in beyond}

    @property
    def count(self) -> int:
        """How many were recorded."""
        return int(self._histogram.get_total_count())

    def encode(self) -> str:
        """The histogram as text (HDR V2, base64), to cross from one process to another."""
        return str(self._histogram.encode().decode("ascii"))

    @classmethod
    def merged(cls, encoded: Iterable[str]) -> Self:
        """The sum of several encoded histograms."""
        sum_of_all = cls()
        for one in encoded:
            sum_of_all._histogram.decode_and_add(one.encode("ascii"))
        return sum_of_all
