"""The deadline ladder: how much of the ranking the time left allows. Pure: the same situation, the same plan.

FULL scores every eligible offer, REDUCED the best few by a cheap score, CACHED repeats the customer's last ranking,
DEFAULT shows the placement's fallback offers; whatever is shown is eligible. The highest rung that fits is taken, so
no answer is late by choice. A placement whose deadline the model cannot meet in full simply never sees it in full.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.decision import Rung
from server.domain.model import RUN_LIMIT_NS
from server.inference.cost import Cost

FEWEST_ROWS = 8
"""With fewer offers than that to choose from a ranking is not much of one."""

_MARGIN_NS = 50_000
_MARGIN_SHIFT = 4
_FIRST = float(np.finfo(np.float64).max)


class Situation(NamedTuple):
    """What a plan depends on.

    Attributes:
        time_left_ns: Until the decision must be made; None: nobody waits.
        eligible: The number of eligible offers.
        slots: How many offers are asked for.
        cost: Of the placement's model; None if it is left alone for now, see `Circuit`.
        now_ns: On the clock that the cost is kept with.
        rest_ns: What comes after scoring: arbitration, answer, record.
        cheap_ns: What the cheap score of all eligible offers costs.
        cached: Whether the customer's last ranking is at hand.
    """

    time_left_ns: int | None
    eligible: int
    slots: int
    cost: Cost | None
    now_ns: int
    rest_ns: int = 0
    cheap_ns: int = 0
    cached: bool = False


class Plan(NamedTuple):
    """What to do, as plain numbers, which are kept with the decision so that a replay does the same.

    Attributes:
        rung: A `Rung`.
        rows: How many offers the model scores: all eligible ones, or the best so many by the cheap score.
        limit_ns: How long it may take.
    """

    rung: int
    rows: int = 0
    limit_ns: int = 0


_FULL, _REDUCED = int(Rung.FULL), int(Rung.REDUCED)
_CACHED, _DEFAULT = Plan(int(Rung.CACHED)), Plan(int(Rung.DEFAULT))


def overheads() -> Cost:
    """The cost of all stages but the model, by the number of eligible offers: an assumption that decisions correct."""
    return Cost(fixed_ns=60_000.0, per_row_ns=50.0)


def choose(situation: Situation) -> Plan:
    """The highest rung that fits, for a placement with a model."""
    time_left_ns, eligible, slots, cost, now_ns, rest_ns, cheap_ns, cached = situation
    if cost is None:
        return without_model(cached)
    if time_left_ns is None:
        return Plan(_FULL, eligible, RUN_LIMIT_NS)
    # What the run must leave for the stages after it, whether it finishes or is cut off.
    limit_ns = time_left_ns - rest_ns - _MARGIN_NS - (time_left_ns >> _MARGIN_SHIFT)
    if cost.estimate_ns(eligible, now_ns) <= limit_ns:
        return Plan(_FULL, eligible, min(limit_ns, RUN_LIMIT_NS))
    limit_ns -= cheap_ns
    rows = min(cost.rows_within(limit_ns, now_ns), eligible)
    if rows >= max(slots, FEWEST_ROWS):
        return Plan(_REDUCED, rows, min(limit_ns, RUN_LIMIT_NS))
    return without_model(cached)


def without_model(cached: bool) -> Plan:
    """The highest rung that needs no model: also what follows when the model was cut off or failed."""
    return _CACHED if cached else _DEFAULT


def shortlist(key: NDArray[np.float64], count: int, ahead: Sequence[int] = ()) -> IntRow:
    """The places of the `count` largest keys, in the order of places; of equal keys the first ones are taken.

    Cost: one partition and two passes, 5 us for 1,000 keys.

    Args:
        key: float64 [rows], finite.
        count: At least 1.
        ahead: Places that stand ahead of all others.
    """
    surplus = len(key) - count
    if surplus <= 0:
        return np.arange(len(key))
    if len(ahead):
        key = key.copy()
        key[ahead] = _FIRST
    partitioned = key.copy()
    partitioned.partition(surplus)
    least = partitioned[surplus]
    places: IntRow = (key >= least).nonzero()[0]
    if len(places) == count:
        return places
    # More keys equal the least one than there is room for.
    above = key.take(places) > least
    equal = ~above
    room = count - int(above.sum())
    chosen: IntRow = places[above | (equal & (equal.cumsum() <= room))]
    return chosen
