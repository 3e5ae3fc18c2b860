"""Tie-breaks: who goes first of those that are worth the same, differently in every decision.

An offer has a hash of its id for its base, so that no order in a file favours anyone. Alone it would favour the same
offers in every decision; so each decision's seed shuffles the bases, and the same seed shuffles them the same way.
"""

import numpy as np
from numpy.typing import NDArray

_WORD = (1 << 64) - 1


def tie_breaks(base: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """The bases as a decision shuffles them; the smaller of two goes first.

    Multiplying by an odd number is one to one, so that different bases never tie, and what is left of a product of
    64 bits falls about evenly for bases that are hashes. Zero stays zero, which no id's hash is in practice.

    Args:
        base: uint64 [rows].
        seed: Of which the lowest 64 bits count; seeds that follow each other shuffle as differently as any. 0 leaves
            the bases as they are.
    """
    return base * np.uint64(_multiplier(seed))


def multipliers(seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What `tie_breaks` multiplies bases by, for many seeds at once: uint64 [seeds], all odd."""
    mixed = seeds
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    odd: NDArray[np.uint64] = (mixed ^ mixed >> np.uint64(31)) | np.uint64(1)
    return odd


def _multiplier(seed: int) -> int:
    # The last steps of splitmix64, which spread every bit of the seed over all bits; they turn 0 into 0.
    mixed = seed & _WORD
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _WORD
    return (mixed ^ mixed >> 31) | 1
