"""Calibration: a line through the log-odds for each campaign type, so that propensities add up to what happens.

The line of a group is drawn towards the identity's slope of 1, because a group may have only a few dozen
positives; its intercept is free, so that expected and observed agree on the pairs it was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_artifacts.complete_journey.metrics import Floats, Labels

Types = NDArray[np.str_]

SLOPE_SPREAD = 0.15  # standard deviation of the prior of a slope around 1
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Line:
    """`p = 1 / (1 + exp(-(slope * log_odds + intercept)))`."""

    slope: float = 1.0
    intercept: float = 0.0

    def propensities(self, log_odds: Floats) -> Floats:
        """Propensities in (0, 1), computed so that no exponential overflows."""
        z = self.slope * np.asarray(log_odds, dtype=np.float64) + self.intercept
        return np.exp(-np.logaddexp(0.0, -z))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Lines by the value of an offer attribute; a value without a line takes the default."""

    default: Line
    groups: Mapping[str, Line]
    fitted_on: str
    by: str = "offer.campaign_type"

    def propensities(self, log_odds: Floats, groups: Types) -> Floats:
        found = self.default.propensities(log_odds)
        for name, line in self.groups.items():
            rows = groups == name
            found[rows] = line.propensities(log_odds[rows])
        return found


NONE = Calibration(default=Line(), groups={}, fitted_on="nothing")


def fit_line(
    log_odds: Floats, labels: Labels, weights: Floats | None = None, slope_spread: float = SLOPE_SPREAD
) -> Line:
    """The most likely line under the prior on its slope, by Newton's method.

    `weights` count a pair more or less than once. Raises ValueError where nothing is positive: then no
    intercept is finite.
    """
    count = np.ones(len(labels)) if weights is None else weights
    if not (count @ labels) > 0:
        raise ValueError("calibration needs at least one positive pair")
    inputs = np.column_stack([np.asarray(log_odds, dtype=np.float64), np.ones(len(labels))])
    line = np.array([1.0, 0.0])
    prior = np.diag([1.0 / slope_spread**2, 0.0])
    for _ in range(_STEPS):
        p = Line(*line).propensities(log_odds)
        gradient = inputs.T @ (count * (labels - p)) - prior @ (line - np.array([1.0, 0.0]))
        curvature = (inputs * (count * p * (1.0 - p))[:, None]).T @ inputs + prior
        step = np.linalg.solve(curvature, gradient)
        line = line + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    return Line(float(line[0]), float(line[1]))


def fit(
    log_odds: Floats,
    labels: Labels,
    types: Types,
    *,
    pools: Mapping[str, tuple[str, ...]],
    fitted_on: str,
    weights: Floats | None = None,
    slope_spread: float = SLOPE_SPREAD,
) -> Calibration:
    """One line per campaign type, fitted on the pairs of its pool; the default line is fitted on all pairs."""
    count = np.ones(len(labels)) if weights is None else weights
    lines = {}
    for name, members in pools.items():
        rows = np.isin(types, members)
        lines[name] = fit_line(log_odds[rows], labels[rows], count[rows], slope_spread)
    return Calibration(default=fit_line(log_odds, labels, count, slope_spread), groups=lines, fitted_on=fitted_on)


def cross_fitted(
    log_odds: Floats,
    labels: Labels,
    types: Types,
    households: NDArray[np.int64],
    *,
    pools: Mapping[str, tuple[str, ...]],
    folds: int = 10,
) -> Floats:
    """Propensities of which each was calibrated without the pairs of its own household."""
    fold = np.random.default_rng(1).permutation(int(households.max()) + 1)[households] % folds
    found = np.empty(len(labels))
    for part in range(folds):
        rest, held = fold != part, fold == part
        fitted = fit(log_odds[rest], labels[rest], types[rest], pools=pools, fitted_on="the other households")
        found[held] = fitted.propensities(log_odds[held], types[held])
    return found
