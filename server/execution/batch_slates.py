"""The slates of a crowd: the stage that fills everybody's slots, as `slates.py` does for one.

Customers for whom a rule pins an offer are arbitrated one by one; all others together.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.decision import Reason
from server.execution.crowd import Crowd
from server.execution.policy import ALWAYS, Pin
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.limits import Limit
from server.intelligence.mass_arbitration import MassContest, MassLimit, Winners, arbitrate_many

Numbers = NDArray[np.float64]


class Slates(NamedTuple):
    """Who won, customer by customer and slot by slot, and with which numbers: columns of the same length.

    Attributes:
        customers: Places in the crowd.
        slots: Counted from 0.
        offers: Places in the catalog.
        expected_values: In the catalog's currency; 0 where nothing is known of the propensity.
    """

    customers: IntRow
    slots: IntRow
    offers: IntRow
    propensities: Numbers
    expected_values: Numbers

    @property
    def distinct_customers(self) -> int:
        """How many customers have won anything; everybody's first slot is their slot 0."""
        return int(np.count_nonzero(self.slots == 0))


def fill_slots(crowd: Crowd, seeds: NDArray[np.uint64]) -> Slates:
    """The winners of everybody; `seeds` shuffle the ties of each customer's decision."""
    occasion = crowd.occasion
    key = _key(crowd)
    limits = [*crowd.limits, *_own_limits(crowd)]
    contest = MassContest(key, occasion.catalog.offers.tie_break, occasion.slots, seeds, limits)
    pinned = _pinned(crowd)
    someone: BoolRow = np.logical_or.reduce(pinned, axis=0)
    if someone.any():
        winners = _joined(_without(contest, someone), _one_by_one(contest, pinned, occasion.catalog.policy.pins))
    else:
        winners = arbitrate_many(contest)
    return _slates(crowd, winners)


def _key(crowd: Crowd) -> Numbers:
    """What everybody's candidates are ranked by: float64 [customers, offers], NaN for what is none."""
    occasion = crowd.occasion
    key = np.full(crowd.allowed.shape, np.nan)
    ranked = crowd.worth if occasion.scorer is None else crowd.propensity * crowd.worth
    key[crowd.customers, crowd.offers] = ranked
    if crowd.failed.any():
        key[crowd.failed] = _fallback_key(crowd)
    return key


def _fallback_key(crowd: Crowd) -> Numbers:
    """For those whom the model failed for: the placement's fallback offers in their order, as far as allowed."""
    fallback = crowd.occasion.placement.fallback
    allowed = crowd.allowed[crowd.failed]
    key = np.full(allowed.shape, np.nan)
    key[:, fallback] = np.where(allowed[:, fallback], -np.arange(len(fallback), dtype=np.float64), np.nan)
    return key


def _own_limits(crowd: Crowd) -> list[MassLimit]:
    """The limits of the placement itself: so many of a group, so many alike."""
    policy, placement = crowd.occasion.catalog.policy, crowd.occasion.placement
    limits = [MassLimit(sorts.keys, sorts.room) for sorts in placement.sorts]
    if policy.group_ids:
        room = np.full(len(policy.group_ids), float(placement.placement.max_per_group))
        limits.append(MassLimit(policy.groups, room))
    return limits


def _pinned(crowd: Crowd) -> BoolRow:
    """Which pins give a slot away for whom: bool [pins, customers]."""
    pins = crowd.occasion.catalog.policy.pins
    pinned = np.zeros((len(pins), len(crowd)), np.bool_)
    for number, pin in enumerate(pins):
        pinned[number] = crowd.allowed[:, pin.offers].any(axis=1)
        if pin.condition != ALWAYS:
            pinned[number] &= crowd.conditions[pin.condition]
    return pinned


def _without(contest: MassContest, someone: BoolRow) -> Winners:
    """The winners of all customers but these."""
    key = contest.key.copy()
    key[someone] = np.nan
    return arbitrate_many(contest._replace(key=key))


def _one_by_one(contest: MassContest, pinned: BoolRow, pins: tuple[Pin, ...]) -> Winners:
    """The winners of those for whom offers are pinned."""
    customers, slots, offers = [], [], []
    for customer in np.logical_or.reduce(pinned, axis=0).nonzero()[0].tolist():
        holding = [pins[number] for number in pinned[:, customer].nonzero()[0].tolist()]
        winners = _winners_of(contest, customer, holding)
        customers.append(np.full(len(winners), customer))
        slots.append(np.arange(len(winners)))
        offers.append(winners)
    return Winners(np.concatenate(customers), np.concatenate(slots), np.concatenate(offers))


def _winners_of(contest: MassContest, customer: int, pins: list[Pin]) -> IntRow:
    """The offers that win for one customer, slot by slot."""
    key = contest.key[customer]
    offers = (~np.isnan(key)).nonzero()[0]
    place = {offer: number for number, offer in enumerate(offers.tolist())}
    seats = [(pin.slot, place[offer]) for pin in pins for offer in pin.offers.tolist() if offer in place]
    single = Contest(
        key.take(offers),
        contest.tie_break.take(offers),
        contest.slots,
        int(contest.seeds[customer]),
        [_limit_of(limit, customer, offers) for limit in contest.limits],
        seats,
    )
    winners: IntRow = offers.take(arbitrate(single).winners)
    return winners


def _limit_of(limit: MassLimit, customer: int, offers: IntRow) -> Limit:
    return Limit(
        limit.keys.take(offers),
        limit.room if limit.room.ndim == 1 else limit.room[customer],
        Reason.CAP,
        None if limit.amounts is None else limit.amounts.take(offers),
        None if limit.bound is None else limit.bound.take(offers),
    )


def _joined(left: Winners, right: Winners) -> Winners:
    """Both, customer by customer."""
    customers, slots, offers = (np.concatenate(columns) for columns in zip(left, right, strict=True))
    order = np.argsort(customers, kind="stable")
    return Winners(customers[order], slots[order], offers[order])


def _slates(crowd: Crowd, winners: Winners) -> Slates:
    """The winners with their numbers: pairs are in order, so that each is found by halving."""
    width = crowd.allowed.shape[1]
    pairs = crowd.customers * width + crowd.offers
    places = np.searchsorted(pairs, winners.customers * width + winners.offers)
    propensities = crowd.propensity.take(places)
    expected_values = propensities * crowd.worth.take(places)
    # Where nothing is known of the propensity, a value below zero would make it a zero below zero.
    expected_values[propensities == 0] = 0.0
    return Slates(*winners, propensities, expected_values)
