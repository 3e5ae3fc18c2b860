"""How a model's propensities are spread over what it was trained on: what the server holds its own against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_artifacts.complete_journey.metrics import Floats

_BINS = 10
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Scores:
    """Edges between bins, rising, and the share of each bin, one more; a propensity on an edge is above it."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def spread(propensities: Floats) -> Scores:
    """Ten bins of about equal shares; fewer where many propensities are the same."""
    deciles = np.quantile(propensities, np.arange(1, _BINS) / _BINS)
    edges = sorted({float(f"{edge:.{_DIGITS}g}") for edge in deciles})
    bins = np.searchsorted(edges, propensities, side="right")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    shares = [round(float(count) / len(propensities), 6) for count in counts]
    return Scores(tuple(edges), tuple(shares))
