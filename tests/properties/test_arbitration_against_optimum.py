"""How far the sum of what wins is from the largest that there is.

Arbitration gives every slot to the best that still fits. That is the largest sum under exclusion groups alone; under
limits that overlap it need not be. `pytest -s` prints how much is lost in random cases.
"""

from itertools import combinations

import numpy as np
import pytest

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.limits import Limit
from server.intelligence.several import Share, several

CASES = 200


def largest_sum(contest: Contest) -> float:
    """The largest sum of keys of any rows that fit into slots and limits together; keys are positive."""
    rows = range(len(contest.key))
    chosen = [choice for size in range(contest.slots + 1) for choice in combinations(rows, size)]
    picked = np.array([[row in choice for row in rows] for choice in chosen], np.float64)
    possible = np.ones(len(chosen), np.bool_)
    for keys, room, _, amounts, _, _ in contest.limits:
        taken = np.ones(len(keys)) if amounts is None else amounts
        for key, most in enumerate(room):
            possible &= picked @ np.where(keys == key, taken, 0) <= most
    return float((picked @ contest.key)[possible].max())


def ratios(kind: str) -> list[float]:
    """What arbitration's sum is of the largest, in random cases."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(CASES):
        contest = several_placements(random) if kind == "two placements" else one_placement(random, kind)
        found.append(float(contest.key.take(arbitrate(contest).winners).sum()) / largest_sum(contest))
    return found


def one_placement(random: np.random.Generator, kind: str) -> Contest:
    rows = 12
    groups = Limit(random.integers(-1, 4, rows), np.ones(4), Reason.EXCLUSION_GROUP)
    categories = Limit(random.integers(0, 4, rows), np.ones(4), Reason.CAP)
    budget = Limit(np.zeros(rows, np.intp), np.array([8.0]), Reason.BUDGET, random.integers(1, 7, rows).astype(float))
    limits = {"groups": (groups,), "groups, categories": (groups, categories), "groups, budget": (groups, budget)}[kind]
    return Contest(expected_values(random, rows), np.arange(rows, dtype=np.uint64), 4, 0, limits)


def several_placements(random: np.random.Generator) -> Contest:
    appeal = expected_values(random, 6)
    offers = np.arange(6)
    shares = [Share(offers, appeal * random.uniform(0.5, 1, 6), offers.astype(np.uint64), 2) for _ in range(2)]
    return several(shares, (Limit(random.integers(-1, 2, 6), np.ones(2), Reason.EXCLUSION_GROUP),), seed=0).contest


def expected_values(random: np.random.Generator, rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Propensities of a few percent times values that spread as widely."""
    return random.beta(2, 40, rows) * random.lognormal(2, 0.7, rows)


def test_under_exclusion_groups_alone_no_other_answer_has_a_larger_sum() -> None:
    assert min(ratios("groups")) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["groups, categories", "groups, budget", "two placements"])
def test_under_limits_that_overlap_little_is_lost(kind: str) -> None:
    found = ratios(kind)

    print(f"\n{kind}: {np.mean(found):.4f} of the largest sum in the mean, {min(found):.3f} at worst")
    assert max(found) <= 1 + 1e-9
    assert np.mean(found) > 0.8
