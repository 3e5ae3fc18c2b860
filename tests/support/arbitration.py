"""Limits and contests for tests, from lists."""

from collections.abc import Sequence

import numpy as np

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest
from server.intelligence.limits import Limit


def limit(
    keys: Sequence[int],
    room: Sequence[float],
    amounts: Sequence[float] | None = None,
    bound: Sequence[bool] | None = None,
    reason: Reason = Reason.CAP,
) -> Limit:
    return Limit(
        np.array(keys, np.intp),
        np.array(room, np.float64),
        reason,
        None if amounts is None else np.array(amounts, np.float64),
        None if bound is None else np.array(bound, np.bool_),
    )


def contest(
    keys: Sequence[float],
    slots: int,
    *limits: Limit,
    pins: Sequence[tuple[int, int]] = (),
    ties: Sequence[int] | None = None,
    seed: int = 0,
) -> Contest:
    """Ties go to the row that stands first, unless told otherwise."""
    hashes = np.arange(len(keys)) if ties is None else ties
    return Contest(np.array(keys, np.float64), np.array(hashes, np.uint64), slots, seed, limits, pins)
