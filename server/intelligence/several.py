"""One decision over several placements: no offer is repeated, and the best pair of placement and offer goes first.

It is arbitration over pairs. A placement has room for as many as it has slots, and an offer for one placement.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.decision import Reason
from server.intelligence.arbitration import Arbitration, Contest, seated
from server.intelligence.limits import Limit


class Share(NamedTuple):
    """What one placement brings into the decision.

    Attributes:
        offers: int [rows], the catalog's place of each offer that may win here, none twice.
        key, tie_break: float64, uint64 [rows], as in `Contest`.
        slots: How many may win here.
        limits: Over these rows, for this placement alone.
        pins: (slot, row) of this placement.
    """

    offers: IntRow
    key: NDArray[np.float64]
    tie_break: NDArray[np.uint64]
    slots: int
    limits: Sequence[Limit] = ()
    pins: Sequence[tuple[int, int]] = ()


class Several(NamedTuple):
    """The contest of all pairs, and where in it the rows and slots of each placement begin."""

    contest: Contest
    first_rows: list[int]
    first_slots: list[int]

    def split(self, arbitration: Arbitration) -> list[IntRow]:
        """For each placement the rows of its own that won, in the order of its slots."""
        pinned: list[dict[int, int]] = [{} for _ in self.first_rows]
        others: list[list[int]] = [[] for _ in self.first_rows]
        for slot, row in arbitration.pinned.items():
            place = bisect_right(self.first_rows, row) - 1
            pinned[place][slot - self.first_slots[place]] = row - self.first_rows[place]
        for row in arbitration.others:
            place = bisect_right(self.first_rows, row) - 1
            others[place].append(row - self.first_rows[place])
        return [seated(*winners) for winners in zip(pinned, others, strict=True)]


def several(shares: Sequence[Share], limits: Sequence[Limit], *, seed: int) -> Several:
    """Lays out the pairs of placement and offer, those of one placement after those of the placement before.

    An offer that is worth the same in two placements goes to the first of them. Pins come first in all placements.

    Args:
        shares: At least one.
        limits: Over the offers of the catalog, for the decision as a whole.
        seed: The decision's.
    """
    offers = np.concatenate([share.offers for share in shares])
    first_rows = [0, *accumulate(len(share.offers) for share in shares)][:-1]
    first_slots = [0, *accumulate(share.slots for share in shares)]
    all_limits = [_slots(shares), _once(offers), *(_of_pairs(limit, offers) for limit in limits)]
    pins: list[tuple[int, int]] = []
    for share, first_row, first_slot in zip(shares, first_rows, first_slots, strict=False):
        all_limits += [_of_one(limit, first_row, len(offers)) for limit in share.limits]
        pins += [(first_slot + slot, first_row + row) for slot, row in share.pins if 0 <= slot < share.slots]
    contest = Contest(
        key=np.concatenate([share.key for share in shares]),
        tie_break=np.concatenate([share.tie_break for share in shares]),
        slots=first_slots.pop(),
        seed=seed,
        limits=all_limits,
        pins=pins,
    )
    return Several(contest, first_rows, first_slots)


def _slots(shares: Sequence[Share]) -> Limit:
    """A placement that is full was filled by larger keys."""
    placements = np.repeat(np.arange(len(shares)), [len(share.offers) for share in shares])
    return Limit(placements, np.array([share.slots for share in shares], np.float64), Reason.LOST)


def _once(offers: IntRow) -> Limit:
    """An offer excludes itself from the other placements."""
    return Limit(offers, np.ones(int(offers.max(initial=-1)) + 1), Reason.EXCLUSION_GROUP)


def _of_pairs(limit: Limit, offers: IntRow) -> Limit:
    """A limit over offers, as one over pairs."""
    return limit._replace(
        keys=limit.keys.take(offers),
        amounts=None if limit.amounts is None else limit.amounts.take(offers),
        bound=None if limit.bound is None else limit.bound.take(offers),
    )


def _of_one(limit: Limit, first_row: int, rows: int) -> Limit:
    """A limit over the rows of one placement, as one over pairs that says nothing of other placements."""
    own = slice(first_row, first_row + len(limit.keys))
    keys = np.full(rows, -1, np.intp)
    keys[own] = limit.keys
    amounts, bound = limit.amounts, limit.bound
    if limit.amounts is not None:
        amounts = np.zeros(rows)
        amounts[own] = limit.amounts
    if limit.bound is not None:
        bound = np.zeros(rows, np.bool_)
        bound[own] = limit.bound
    return limit._replace(keys=keys, amounts=amounts, bound=bound)
