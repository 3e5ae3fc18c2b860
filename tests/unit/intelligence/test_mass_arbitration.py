import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.limits import Limit
from server.intelligence.mass_arbitration import MassContest, MassLimit, arbitrate_many

NAN, INF = math.nan, math.inf


def contest(keys: Sequence[Sequence[float]], slots: int, *limits: MassLimit, seeds: Sequence[int] = ()) -> MassContest:
    """Ties go to the offer that stands first, unless there are seeds."""
    key = np.array(keys, np.float64)
    shuffling = np.array(seeds or [0] * len(key), np.uint64)
    return MassContest(key, np.arange(key.shape[1]).astype(np.uint64), slots, shuffling, limits)


def winners(made: MassContest) -> list[list[int]]:
    """The offers of each customer, slot by slot."""
    found: list[list[int]] = [[] for _ in made.key]
    for customer, slot, offer in zip(*(column.tolist() for column in arbitrate_many(made)), strict=True):
        assert slot == len(found[customer])
        found[customer].append(offer)
    return found


def test_each_customer_gets_the_largest_keys() -> None:
    assert winners(contest([[1, 3, 2], [5, 4, NAN]], 2)) == [[1, 2], [0, 1]]


def test_what_is_not_a_number_never_wins_and_minus_infinity_comes_last() -> None:
    keys = [[NAN, -INF, 1.0, NAN], [NAN, NAN, NAN, NAN], [-INF, -INF, NAN, INF]]

    assert winners(contest(keys, 4)) == [[2, 1], [], [3, 0, 1]]
    free = MassLimit(np.zeros(4, np.intp), np.array([9.0]))
    assert winners(contest(keys, 4, free)) == [[2, 1], [], [3, 0, 1]]


def test_nobody_and_nothing_have_no_winners() -> None:
    assert winners(contest([[1.0, 2.0]], 0)) == [[]]
    assert len(arbitrate_many(MassContest(np.empty((0, 3)), np.empty(3, np.uint64), 2, np.empty(0, np.uint64)))[0]) == 0
    assert len(arbitrate_many(MassContest(np.empty((2, 0)), np.empty(0, np.uint64), 2, np.ones(2, np.uint64)))[0]) == 0


def test_room_is_each_customers_own() -> None:
    alike = MassLimit(np.array([0, 0, 1]), np.array([[1.0, 1.0], [INF, 0.0]]))

    assert winners(contest([[3, 2, 1], [3, 2, 1]], 2, alike)) == [[0, 2], [0, 1]]


def test_offer_that_is_not_bound_uses_room_up_and_needs_none() -> None:
    limit = MassLimit(np.zeros(3, np.intp), np.array([1.0]), None, np.array([False, True, True]))

    assert winners(contest([[3, 2, 1], [1, 3, 2]], 3, limit)) == [[0], [1, 0]]


def test_room_or_amount_that_is_no_number_is_no_room() -> None:
    keys = [[3.0, 2.0, 1.0]]

    assert winners(contest(keys, 3, MassLimit(np.array([0, 1, -1]), np.array([NAN, 1.0])))) == [[1, 2]]
    amounts = np.array([NAN, 1.0, NAN])
    assert winners(contest(keys, 3, MassLimit(np.array([0, 0, -1]), np.array([1.0]), amounts))) == [[1, 2]]


def test_limit_without_any_room_to_count_holds_nobody_back() -> None:
    assert winners(contest([[1, 2]], 2, MassLimit(np.full(2, -1), np.empty(0)))) == [[1, 0]]


@pytest.mark.parametrize("seed", range(60))
def test_everybody_gets_what_arbitration_alone_would_give(seed: int) -> None:
    random = np.random.default_rng(seed)
    customers, offers = int(random.integers(1, 9)), int(random.integers(1, 90))
    key = random.integers(0, int(random.choice([2, 5, 1000])), (customers, offers)).astype(np.float64)
    key[random.random(key.shape) < 0.3] = NAN
    key[random.random(key.shape) < 0.05] = -INF
    limits = [random_limit(random, customers, offers) for _ in range(random.integers(0, 4))]
    tie_break = random.integers(0, 2**64, offers, np.uint64)
    seeds = random.integers(0, 2**64, customers, np.uint64)
    slots = int(random.integers(1, 12))

    found = winners(MassContest(key, tie_break, slots, seeds, limits))

    for customer in range(customers):
        own = [limit_of(limit, customer) for limit in limits]
        alone = Contest(key[customer], tie_break, slots, int(seeds[customer]), own)
        assert found[customer] == arbitrate(alone).winners.tolist()


def random_limit(random: np.random.Generator, customers: int, offers: int) -> MassLimit:
    keys = random.integers(-1, 4, offers)
    shape = (4,) if random.random() < 0.5 else (customers, 4)
    room: NDArray[np.float64] = random.integers(0, 4, shape).astype(np.float64)
    amounts = random.integers(0, 4, offers) / 2 if random.random() < 0.4 else None
    return MassLimit(keys, room, amounts, random.random(offers) < 0.8 if random.random() < 0.4 else None)


def limit_of(limit: MassLimit, customer: int) -> Limit:
    room = limit.room if limit.room.ndim == 1 else limit.room[customer]
    return Limit(limit.keys, room, Reason.CAP, limit.amounts, limit.bound)
