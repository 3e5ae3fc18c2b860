"""Arbitration by the number of rows and limits: 10 slots, as one decision has them."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest, arbitrate, best
from server.intelligence.limits import Limit
from server.intelligence.losers import held_back
from server.intelligence.several import Share, several
from server.intelligence.tie_break import tie_breaks

SLOTS = 10


def values(rows: int) -> tuple[np.random.Generator, Contest]:
    """Expected values, and hashes."""
    random = np.random.default_rng(1)
    return random, Contest(random.gamma(1, 1, rows), random.integers(0, 2**64, rows, np.uint64), SLOTS, 2**40 + 1)


def limited(rows: int) -> Contest:
    """With an exclusion group for most rows, a cap that holds most of them back, and a budget in currency."""
    random, contest = values(rows)
    groups = Limit(random.integers(-1, rows // 4, rows), np.ones(rows // 4), Reason.EXCLUSION_GROUP)
    caps = Limit(random.integers(-1, 12, rows), np.full(12, 3.0), Reason.CAP, None, random.random(rows) < 0.8)
    budgets = Limit(random.integers(-1, 5, rows), np.full(5, 20.0), Reason.BUDGET, random.gamma(2, 2, rows))
    return contest._replace(limits=(groups, caps, budgets))


def below(rows: int) -> Contest:
    """With the best half held back by a cap, so that more rows have to be fetched."""
    contest = limited(rows)
    half = np.where(contest.key > np.median(contest.key), 0, -1)
    return contest._replace(limits=(*contest.limits[:2], Limit(half, np.zeros(1), Reason.CAP)))


@pytest.mark.parametrize("rows", [350, 10_000])
def test_best(benchmark: BenchmarkFixture, rows: int) -> None:
    _, contest = values(rows)

    assert len(benchmark(best, contest.key, contest.tie_break, SLOTS)) == SLOTS


@pytest.mark.parametrize("rows", [350, 1_000, 10_000])
def test_without_limits(benchmark: BenchmarkFixture, rows: int) -> None:
    _, contest = values(rows)

    assert len(benchmark(arbitrate, contest).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 1_000, 10_000])
def test_one_limit(benchmark: BenchmarkFixture, rows: int) -> None:
    contest = limited(rows)

    assert len(benchmark(arbitrate, contest._replace(limits=contest.limits[:1])).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 1_000, 10_000])
def test_three_limits(benchmark: BenchmarkFixture, rows: int) -> None:
    assert len(benchmark(arbitrate, limited(rows)).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 10_000])
def test_three_limits_and_two_pins(benchmark: BenchmarkFixture, rows: int) -> None:
    assert len(benchmark(arbitrate, limited(rows)._replace(pins=((0, 5), (3, 9)))).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 10_000])
def test_three_limits_where_all_rows_tie(benchmark: BenchmarkFixture, rows: int) -> None:
    assert len(benchmark(arbitrate, limited(rows)._replace(key=np.zeros(rows))).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 10_000])
def test_three_limits_that_hold_the_best_half_back(benchmark: BenchmarkFixture, rows: int) -> None:
    assert len(benchmark(arbitrate, below(rows)).winners) == SLOTS


@pytest.mark.parametrize("rows", [350, 10_000])
def test_why_all_losers_lost(benchmark: BenchmarkFixture, rows: int) -> None:
    contest = limited(rows)
    found = arbitrate(contest)

    assert len(benchmark(held_back, np.arange(rows), contest, found)) == rows


def test_three_placements(benchmark: BenchmarkFixture) -> None:
    contest = limited(350)
    shares = [Share(np.arange(350), contest.key * scale, contest.tie_break, 3) for scale in (1, 0.9, 0.8)]

    def decide() -> int:
        joint = several(shares, contest.limits, seed=1)
        return sum(map(len, joint.split(arbitrate(joint.contest))))

    assert benchmark(decide) == 9


def test_tie_breaks_of_a_thousand(benchmark: BenchmarkFixture) -> None:
    _, contest = values(1_000)

    assert len(benchmark(tie_breaks, contest.tie_break, contest.seed)) == 1_000
