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
    log_odds = output.astype(np.float64)
    if kind is OutputKind.PROBABILITY:
        # Probabilities of exactly 0 or 1 have no finite log-odds.
        clipped = np.clip(log_odds, _SMALLEST, 1 - _SMALLEST)
        log_odds = np.log(clipped / (1 - clipped))
    # The bound keeps exp from overflowing; a probability of e-300 is 0 for every purpose.
    exponent = np.minimum(-(slopes * log_odds + intercepts), 700.0)
    return 1.0 / (1.0 + np.exp(exponent))
