"""How good propensities are: ranking, sharpness and calibration, with intervals by resampling households."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

FIELDS = ("auc", "pr_auc", "log_loss", "observed_over_expected")
GROUPS: Mapping[str, tuple[str, ...]] = {"A": ("A",), "B": ("B",), "C": ("C",), "B+C": ("B", "C")}
"""Campaign types that are reported together."""


def summary(labels: Labels, propensities: Floats) -> dict[str, Any]:
    """Pairs, positives and the figures of `FIELDS`; a figure that the labels do not allow is None.

    `log_loss` is in nats per pair; `observed_over_expected` is the positives over the sum of propensities.
    """
    positives = int(labels.sum())
    ranks = 0 < positives < len(labels)
    return {
        "pairs": len(labels),
        "positives": positives,
        "auc": float(roc_auc_score(labels, propensities)) if ranks else None,
        "pr_auc": float(average_precision_score(labels, propensities)) if ranks else None,
        "log_loss": float(log_loss(labels, propensities, labels=[0, 1])) if len(labels) else None,
        "observed_over_expected": float(positives / propensities.sum()) if len(labels) else None,
    }


def by_type(labels: Labels, propensities: Floats, types: NDArray[np.str_]) -> dict[str, Any]:
    """The summary overall and, under `by_type`, of each group of campaign types that has pairs."""
    groups = {name: np.isin(types, members) for name, members in GROUPS.items()}
    found = {name: summary(labels[rows], propensities[rows]) for name, rows in groups.items() if rows.any()}
    return {**summary(labels, propensities), "by_type": found}


def intervals(
    labels: Labels, propensities: Floats, households: NDArray[np.int64], resamples: int = 200, seed: int = 1
) -> dict[str, tuple[float, float]]:
    """95% intervals of `FIELDS` from resampled households: pairs of one household stand or fall together."""
    figure_of: dict[str, Callable[[Floats], float]] = {
        "auc": lambda weights: roc_auc_score(labels, propensities, sample_weight=weights),
        "pr_auc": lambda weights: average_precision_score(labels, propensities, sample_weight=weights),
        "log_loss": lambda weights: log_loss(labels, propensities, sample_weight=weights, labels=[0, 1]),
        "observed_over_expected": lambda weights: float((weights @ labels) / (weights @ propensities)),
    }
    random = np.random.default_rng(seed)
    _, rows = np.unique(households, return_inverse=True)
    size = int(rows.max()) + 1
    drawn: dict[str, list[float]] = {name: [] for name in FIELDS}
    for _ in range(resamples):
        weights = np.bincount(random.integers(size, size=size), minlength=size)[rows].astype(float)
        if weights @ labels > 0:
            for name, figure in figure_of.items():
                drawn[name].append(float(figure(weights)))
    bounds = {name: np.quantile(values, (0.025, 0.975)) for name, values in drawn.items() if values}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def deciles(labels: Labels, propensities: Floats, bins: int = 10) -> list[tuple[int, float, int]]:
    """Equal numbers of pairs in order of propensity: pairs, expected and observed positives of each bin."""
    order = np.argsort(propensities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [(len(part), float(propensities[part].sum()), int(labels[part].sum())) for part in parts]
