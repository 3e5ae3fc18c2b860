from collections.abc import Sequence

import numpy as np

from server.domain.decision import Reason
from server.intelligence.arbitration import arbitrate
from server.intelligence.limits import Limit
from server.intelligence.losers import held_back
from server.intelligence.several import Share, several
from tests.support.arbitration import limit


def share(
    worth: dict[int, float], slots: int, limits: Sequence[Limit] = (), pins: Sequence[tuple[int, int]] = ()
) -> Share:
    """A placement where these offers are worth so much; ties go to the first offer."""
    offers = np.array(list(worth), np.intp)
    return Share(offers, np.array(list(worth.values()), np.float64), offers.astype(np.uint64), slots, limits, pins)


def won(shares: Sequence[Share], limits: Sequence[Limit] = ()) -> list[list[int]]:
    """The offers that win, by placement."""
    joint = several(shares, limits, seed=0)
    winners = joint.split(arbitrate(joint.contest))
    return [share.offers.take(rows).tolist() for share, rows in zip(shares, winners, strict=True)]


def test_an_offer_wins_where_it_is_worth_most() -> None:
    assert won([share({0: 5, 1: 4}, 1), share({0: 6, 1: 1}, 1)]) == [[1], [0]]


def test_an_offer_that_is_worth_the_same_goes_to_the_first_placement() -> None:
    assert won([share({0: 5, 1: 1}, 1), share({0: 5, 1: 4}, 1)]) == [[0], [1]]


def test_each_placement_has_its_own_slots() -> None:
    assert won([share({0: 9, 1: 8, 2: 7}, 1), share({3: 3, 4: 2, 5: 1}, 2)]) == [[0], [3, 4]]


def test_a_placement_without_offers_stays_empty() -> None:
    assert won([share({}, 2), share({0: 1}, 1), share({}, 2)]) == [[], [0], []]
    assert won([share({}, 2)]) == [[]]


def test_a_limit_of_the_decision_counts_in_all_placements() -> None:
    groups = limit([0, 1, 0, 1], [1, 1])

    assert won([share({0: 4, 1: 3}, 2), share({2: 9, 3: 1}, 2)], [groups]) == [[1], [2]]


def test_a_limit_of_a_placement_counts_there_alone() -> None:
    one = limit([0, 0], [1])

    assert won([share({0: 4, 1: 3}, 2), share({2: 2, 3: 1}, 2, [one])]) == [[0, 1], [2]]


def test_a_limit_of_a_placement_keeps_amounts_and_who_is_bound() -> None:
    budget = limit([0, 0, 0], [1], amounts=[1, 5, 1], bound=[True, False, True])

    assert won([share({0: 4}, 1), share({1: 3, 2: 2, 3: 1}, 3, [budget]), share({4: 1}, 1)]) == [[0], [1, 2], [4]]


def test_amounts_and_who_is_bound_follow_the_offers() -> None:
    budget = limit([0, 0, 0], [1], amounts=[1, 5, 1], bound=[True, False, True])

    assert won([share({2: 4, 0: 3}, 2), share({1: 2}, 1)], [budget]) == [[2], [1]]


def test_pins_stand_in_the_slots_of_their_placement() -> None:
    first, second = share({0: 4, 1: 3, 2: 2}, 2, pins=[(1, 2)]), share({3: 4, 4: 3, 5: 2}, 2, pins=[(0, 2)])

    assert won([first, second]) == [[0, 2], [5, 3]]


def test_a_pin_beyond_the_slots_of_its_placement_does_not_reach_the_next() -> None:
    assert won([share({0: 4, 1: 3}, 1, pins=[(1, 1)]), share({2: 2}, 1)]) == [[0], [2]]


def test_a_pinned_offer_is_not_repeated() -> None:
    assert won([share({0: 9, 1: 1}, 1), share({0: 2, 2: 1}, 1, pins=[(0, 0)])]) == [[1], [0]]


def test_losers_can_be_told_why() -> None:
    joint = several([share({0: 9, 1: 1}, 1), share({0: 8, 2: 1}, 1)], (), seed=0)
    reasons = np.append([limit.reason for limit in joint.contest.limits], Reason.LOST)

    held = held_back(np.array([1, 2]), joint.contest, arbitrate(joint.contest))

    assert reasons[held].tolist() == [Reason.LOST, Reason.EXCLUSION_GROUP]
