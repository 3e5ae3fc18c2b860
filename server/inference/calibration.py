"""Turns raw model output into calibrated probabilities (Platt, 1999: a line on the log-odds)."""

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow
from server.domain.model import OutputKind

_SMALLEST = 1e-7


def propensities(
    output: FloatRow,
    kind: OutputKind,
    slopes: NDArray[np.float64] | np.float64,
    intercepts: NDArray[np.float64] | np.float64,
) -> NDArray[np.float64]:
    """Calibrated P(conversion): float64 [rows] in [0, 1], for raw output float32 [rows].

    Args:
        slopes: Of each row's calibration line, float64 [rows], or one for all rows.
        intercepts: Likewise.
    """
    log_odds: NDArray[np.float32] | NDArray[np.float64] = output
    if kind is OutputKind.PROBABILITY:
        # Probabilities of exactly 0 or 1 have no finite log-odds.
        clipped = np.clip(output.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
        log_odds = np.log(clipped / (1 - clipped))
    # 1 / (1 + exp(-slope x log_odds - intercept)), in place: each array that is not made saves a microsecond.
    exponent: NDArray[np.float64] = log_odds * -slopes
    exponent -= intercepts
    # The bound keeps exp from overflowing; a probability of e-300 is 0 for every purpose.
    np.minimum(exponent, 700.0, out=exponent)
    np.exp(exponent, exponent)
    exponent += 1.0
    return np.reciprocal(exponent, exponent)
