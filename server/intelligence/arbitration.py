"""Arbitration: which of the eligible offers win the slots.

Expected value decides, slot by slot, among the offers that every limit still has room for. Ties go to a hash of the
offer's id that each decision's seed shuffles, so that no order in a file favours anyone.

Few rows are looked at: those with the largest keys are partitioned off, sorted, and walked in Python. More of them are
only fetched when limits hold back so many that slots are left.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.intelligence.limits import Ledger, Limit
from server.intelligence.tie_break import tie_breaks

_Number = TypeVar("_Number", np.float64, np.uint64)

_LOOK = 64
"""How many rows are sorted, at least: enough to leave the best losers for the record of the decision."""

_STRIDE = 24
"""How many rows are made lists at first; mostly slots are filled by then."""


class Contest(NamedTuple):
    """What arbitration decides about.

    Attributes:
        key: float64 [rows], the largest wins; -inf comes last, and NaN never wins.
        tie_break: uint64 [rows], the offers' hashes as the catalog has them.
        slots: How many may win, at least 0.
        seed: The decision's, which shuffles ties.
        limits: What holds rows back; a row that several of them hold back is said to have lost by the first.
        pins: (slot, row): rows that take a slot whatever their keys, if limits have room for them.
    """

    key: NDArray[np.float64]
    tie_break: NDArray[np.uint64]
    slots: int
    seed: int
    limits: Sequence[Limit] = ()
    pins: Sequence[tuple[int, int]] = ()


class Arbitration(NamedTuple):
    """Who won.

    Attributes:
        winners: int [slots or fewer], rows in the order of slots.
        order: int, rows in the order of their keys: all, or at least the best 64 and the best four for each slot; and
            if these did not fill the slots, the best of those below that limits had room for.
        pinned: The slots that pins took, in order, with their rows.
        lost: The rows of `order` that did not win, in its order.
    """

    winners: IntRow
    order: IntRow
    pinned: Mapping[int, int]
    lost: IntRow | Sequence[int]

    @property
    def others(self) -> list[int]:
        """The winners that won by their keys, best first."""
        pinned = set(self.pinned.values())
        return [row for row in self.winners.tolist() if row not in pinned]


def arbitrate(contest: Contest) -> Arbitration:
    """Fills slot by slot with the row that has the largest key of those that did not win yet and that limits allow.

    Ties go to the smallest tie-break, then to the smallest row. Pinned rows come before all others, in the order of
    their slots: of several pins for one slot the row that would win without pins has it, and a row that limits have no
    room for, or whose slot does not exist, is treated like any other. When fewer rows than slots can win, the answer is
    shorter and has no holes: pinned rows then move up, in their order.

    This is the lexicographically best answer. With exclusion groups alone it is also the one with the largest sum of
    keys; under several limits at once it may not be.

    Cost: for 350 rows and 10 slots 8 us, and 4 us more for each limit; for 10,000 rows 20 us. Where limits hold back
    most of the best rows, another pass over all rows each time twice as many have been looked at.
    """
    slots, limits = contest.slots, contest.limits
    look = max(_LOOK, 4 * slots)
    order = best(contest.key, contest.tie_break, look, contest.seed)
    if not contest.pins:
        if not limits:
            return Arbitration(order[:slots], order, {}, order[slots:])
        if all(limit.even is not None for limit in limits):
            others, lost = _spread(order, limits, slots)
            if len(others) == slots or len(order) < look:
                return Arbitration(np.array(others, np.intp), order, {}, lost)
    ledger = Ledger(limits)
    pinned = _seat_pins(contest, ledger) if contest.pins else {}
    others, order = _walk(contest, ledger, order, pinned.values())
    winners = seated(pinned, others)
    won = set(winners.tolist())
    return Arbitration(winners, order, pinned, [row for row in order.tolist() if row not in won])


def best(key: NDArray[np.float64], tie_break: NDArray[np.uint64], count: int, seed: int = 0) -> IntRow:
    """The places of the `count` largest keys, largest first: int [min(count, rows)]. Rows of NaN are left out.

    Exact at the boundary: every row that ties with the last place takes part in the tie-break. Cost: one partition
    of the rows, and a sort of the few that are left.

    Args:
        key: float64 [rows].
        tie_break: uint64 [rows].
        count: At least 0.
        seed: What shuffles ties; 0 leaves them in the order of `tie_break`.
    """
    if not count:
        return np.empty(0, np.intp)
    loss = -key
    if len(loss) <= count:
        return _sorted(loss, tie_break, seed)
    last = _smallest(loss, count)
    # NaN sorts as the largest loss: there are fewer rows to choose from than places.
    candidates: IntRow = (loss <= (math.inf if math.isnan(last) else last)).nonzero()[0]
    if len(candidates) > 2 * count:
        # So many tie with the last place that sorting them all would take its time: the tie-break partitions them.
        above, ties = (loss < last).nonzero()[0], (loss == last).nonzero()[0]
        shuffled = tie_breaks(tie_break.take(ties), seed)
        candidates = np.concatenate((above, ties[shuffled <= _smallest(shuffled, count - len(above))]))
    winners: IntRow = candidates.take(_sorted(loss.take(candidates), tie_break.take(candidates), seed)[:count])
    return winners


def _sorted(loss: NDArray[np.float64], tie_break: NDArray[np.uint64], seed: int) -> IntRow:
    """The places of all losses, smallest first; those of NaN are left out."""
    order = loss.argsort()
    ordered = loss.take(order)
    if len(order) and math.isnan(ordered.item(-1)):
        ordered = ordered[: np.isnan(ordered).argmax()]
    # Mostly no two are equal, and nothing has to be shuffled.
    if np.count_nonzero(ordered[1:] == ordered[:-1]):
        order = np.lexsort((tie_breaks(tie_break, seed), loss))
    return order[: len(ordered)]


def seated(pinned: Mapping[int, int], others: Sequence[int]) -> IntRow:
    """The winners in the order of slots: pinned rows in theirs, which come in order, and the others around them."""
    winners = list(others)
    for slot, row in pinned.items():
        winners.insert(slot, row)
    return np.array(winners, np.intp)


def _seat_pins(contest: Contest, ledger: Ledger) -> dict[int, int]:
    """The slots that pins take, in order, with their rows."""
    slots = np.array([slot for slot, _ in contest.pins], np.intp)
    rows = np.array([row for _, row in contest.pins], np.intp)
    loss = -contest.key.take(rows)
    order = np.lexsort((rows, tie_breaks(contest.tie_break.take(rows), contest.seed), loss, slots))
    order = order[((slots >= 0) & (slots < contest.slots) & ~np.isnan(loss)).take(order)]
    ledger.look_at(rows.take(order))
    pinned: dict[int, int] = {}
    for place, (slot, row) in enumerate(zip(slots.take(order).tolist(), rows.take(order).tolist(), strict=True)):
        if slot not in pinned and row not in pinned.values() and ledger.admit(place):
            pinned[slot] = row
    return pinned


def _walk(contest: Contest, ledger: Ledger, front: IntRow, pinned: Collection[int]) -> tuple[list[int], IntRow]:
    """The rows that win by their keys, best first, and all rows that were looked at for them, at first `front`."""
    seats, look, order = contest.slots - len(pinned), max(_LOOK, 4 * contest.slots), front
    others = list(islice(_admitted(front, ledger, pinned), seats))
    while len(others) < seats and len(front) == look:
        look *= 2
        front = _best_left(contest, ledger, order, look)
        order = np.concatenate((order, front))
        others += islice(_admitted(front, ledger, pinned), seats - len(others))
    return others, order


def _spread(front: IntRow, limits: Sequence[Limit], seats: int) -> tuple[list[int], list[int]]:
    """Those that win and those that lose where limits are even, which most are: groups and diversity.

    A third of the time that asking a ledger takes.
    """
    rows = front.tolist()
    # One limit after another would let a row count that the next one refuses, so all are asked for each row.
    asked = [(limit.keys.take(front).tolist(), limit.even or 0, _Counts()) for limit in limits]
    if len(asked) == 1:
        return _spread_one(rows, *asked[0], seats)
    others: list[int] = []
    lost: list[int] = []
    for place, row in enumerate(rows):
        if len(others) == seats:
            return others, lost + rows[place:]
        if all(keys[place] < 0 or counts[keys[place]] < even for keys, even, counts in asked):
            others.append(row)
            for keys, _, counts in asked:
                counts[keys[place]] += 1
        else:
            lost.append(row)
    return others, lost


def _spread_one(
    rows: list[int], keys: list[int], even: int, counts: "_Counts", seats: int
) -> tuple[list[int], list[int]]:
    """The same for one limit."""
    others: list[int] = []
    lost: list[int] = []
    for place, (row, key) in enumerate(zip(rows, keys, strict=True)):
        if len(others) == seats:
            return others, lost + rows[place:]
        if key < 0 or counts[key] < even:
            others.append(row)
            counts[key] += 1
        else:
            lost.append(row)
    return others, lost


class _Counts(dict[int, int]):
    """How many have won of each key, 0 of those that nobody has met."""

    def __missing__(self, key: int) -> int:
        return 0


def _admitted(front: IntRow, ledger: Ledger, pinned: Collection[int]) -> Iterator[int]:
    """Those of the best rows that limits have room for, one after another."""
    start, stride = 0, _STRIDE
    while start < len(front):
        rows = front[start : start + stride]
        ledger.look_at(rows)
        for place, row in enumerate(rows.tolist()):
            if row not in pinned and ledger.admit(place):
                yield row
        start, stride = start + stride, 2 * stride


def _best_left(contest: Contest, ledger: Ledger, seen: IntRow, count: int) -> IntRow:
    """The best rows that were not seen yet and that limits still have room for."""
    # What there is no room for now has lost for good, as room only ever shrinks.
    left = ledger.has_room(len(contest.key))
    left[seen] = False
    rows = left.nonzero()[0]
    return rows.take(best(contest.key.take(rows), contest.tie_break.take(rows), count, contest.seed))


def _smallest(values: NDArray[_Number], count: int) -> _Number:
    """The largest of the `count` smallest values."""
    partitioned = values.copy()
    partitioned.partition(count - 1)
    smallest: _Number = partitioned[count - 1]
    return smallest
