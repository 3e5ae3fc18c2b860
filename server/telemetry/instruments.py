"""What values are collected in, on the event loop and without a lock: a plain list and a plain dict.

`prometheus_client` takes a lock for each value, and a microsecond (measured: 1.1 us against 0.2 us here). Whoever
measures owns its instruments and knows nothing of who reads them; a reader between two of its steps may see a count
without its sum, which the next reading makes good.
"""

from bisect import bisect_left
from collections.abc import Mapping

from server.telemetry.metrics import Metric

Labels = tuple[str, ...]


class Distribution:
    """Values of one kind, counted by size. `counts` has a place for each bound, and one for what is above them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.bounds
        self.counts = [0] * (len(metric.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts a value, in the metric's unit."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Distributions:
    """A distribution for each combination of labels. Take `of` once, when what measures is made, and keep it."""

    __slots__ = ("_kept", "_metric")

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._kept: dict[Labels, Distribution] = {}

    def of(self, *labels: str) -> Distribution:
        """The distribution of these labels."""
        return self._kept.setdefault(labels, Distribution(self._metric))

    def read(self) -> Mapping[Labels, Distribution]:
        """All of them that have any value."""
        return {labels: kept for labels, kept in self._kept.items() if any(kept.counts)}
