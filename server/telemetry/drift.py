"""Drift: whether a model's scores are still spread as they were when it was trained (population stability index).

It is held against all of the training: whoever serves only some of what a model was trained for sees that as drift too.
"""

import numpy as np
from numpy.typing import NDArray

from server.domain.model import ScoreReference

FEWEST = 1_000
"""Scores below which the index would be noise."""

WINDOW = 200_000
"""Scores after which each counts half: the index is about the last few hundred thousand."""

_LEAST_SHARE = 1e-4


class Drift:
    """Counts scores by the bins of a reference: one search in ten edges, some 20 us for 350 scores."""

    def __init__(self, reference: ScoreReference) -> None:
        self._edges = np.array(reference.edges, np.float64)
        self._expected = np.maximum(np.array(reference.shares, np.float64), _LEAST_SHARE)
        self._counts = np.zeros(len(reference.shares))
        self.seen = 0

    def observe(self, scores: NDArray[np.float64]) -> None:
        """Counts scores, float64 [rows]."""
        bins = np.searchsorted(self._edges, scores, side="right")
        self._counts += np.bincount(bins, minlength=len(self._counts))
        self.seen += len(scores)
        if self._counts.sum() > WINDOW:
            self._counts /= 2

    def psi(self) -> float | None:
        """The index, None for too few scores: the sum over bins of (actual - expected) x ln(actual / expected)."""
        total = self._counts.sum()
        if total < FEWEST:
            return None
        actual = np.maximum(self._counts / total, _LEAST_SHARE)
        return float(((actual - self._expected) * np.log(actual / self._expected)).sum())
