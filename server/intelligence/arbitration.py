"""Arbitration: which of the eligible offers win the slots.

Expected value decides; ties go to the hash of the offer's id, so that no order in a file favours anyone.
"""

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow

_FEW = 64
"""Rows that are sorted sooner than partitioned."""


def best(key: NDArray[np.float64], tie_break: NDArray[np.uint64], count: int) -> IntRow:
    """The places of the `count` largest keys, largest first: int [min(count, rows)].

    Exact at the boundary: every row that ties with the last place takes part in the tie-break. Cost: one partition
    of the rows, and a sort of the few that are left.

    Args:
        key: float64 [rows], finite.
        tie_break: uint64 [rows].
        count: At least 0.
    """
    rows = len(key)
    if rows <= _FEW:
        few: IntRow = np.lexsort((tie_break, -key))[:count]
        return few
    if count < rows:
        if not count:
            return np.empty(0, np.intp)
        partitioned = key.copy()
        partitioned.partition(rows - count)
        candidates = (key >= partitioned[rows - count]).nonzero()[0]
    else:
        candidates = np.arange(rows)
    order = np.lexsort((tie_break.take(candidates), -key.take(candidates)))
    winners: IntRow = candidates[order[:count]]
    return winners
