import numpy as np
import pytest

from server.domain.decision import Rung
from server.domain.model import RUN_LIMIT_NS
from server.execution.ladder import FEWEST_ROWS, Plan, Situation, choose, overheads, shortlist, without_model
from server.inference.cost import Cost

NOW = 1_000_000_000_000
MS = 1_000_000
SITUATION = Situation(time_left_ns=50 * MS, eligible=350, slots=3, cost=None, now_ns=NOW)


def trees() -> Cost:
    """10 us and 100 us for each row: 350 rows take 35 ms."""
    cost = Cost()
    cost.measure({1: 110_000, 100: 10_010_000})
    return cost


def plan(**changes: object) -> Plan:
    return choose(SITUATION._replace(cost=trees())._replace(**changes))  # type: ignore[arg-type]


def test_every_offer_is_scored_if_there_is_time() -> None:
    chosen = plan()

    assert (chosen.rung, chosen.rows) == (Rung.FULL, 350)
    assert 35 * MS <= chosen.limit_ns < 50 * MS


def test_without_a_deadline_everything_is_scored_within_the_generous_limit() -> None:
    assert plan(time_left_ns=None) == Plan(Rung.FULL, 350, RUN_LIMIT_NS)


def test_distant_deadline_is_no_reason_to_let_a_run_go_on_for_ever() -> None:
    assert plan(time_left_ns=3_600_000 * MS).limit_ns == RUN_LIMIT_NS


def test_with_less_time_the_best_few_are_scored() -> None:
    chosen = plan(time_left_ns=20 * MS)

    assert chosen.rung == Rung.REDUCED
    assert chosen.rows == pytest.approx(185, abs=5)
    assert trees().estimate_ns(chosen.rows, NOW) <= chosen.limit_ns < 20 * MS


def test_what_comes_after_scoring_and_the_cheap_score_take_their_time() -> None:
    alone = plan(time_left_ns=20 * MS)
    with_rest = plan(time_left_ns=20 * MS, rest_ns=5 * MS)
    with_both = plan(time_left_ns=20 * MS, rest_ns=5 * MS, cheap_ns=3 * MS)

    assert alone.limit_ns - with_rest.limit_ns == 5 * MS
    assert with_rest.limit_ns - with_both.limit_ns == 3 * MS
    assert alone.rows > with_rest.rows > with_both.rows


def test_cheap_score_does_not_count_if_it_is_not_needed() -> None:
    assert plan(cheap_ns=20 * MS).rung == Rung.FULL


@pytest.mark.parametrize(("cached", "rung"), [(True, Rung.CACHED), (False, Rung.DEFAULT)])
def test_too_little_time_for_a_ranking_leads_to_the_last_one_or_the_fallback(cached: bool, rung: Rung) -> None:
    assert plan(time_left_ns=MS // 2, cached=cached) == Plan(rung)


@pytest.mark.parametrize(("cached", "rung"), [(True, Rung.CACHED), (False, Rung.DEFAULT)])
def test_model_that_is_left_alone_is_in_no_plan(cached: bool, rung: Rung) -> None:
    assert plan(cost=None, cached=cached) == Plan(rung)
    assert plan(cost=None, time_left_ns=None, cached=cached) == Plan(rung)


def test_reduced_ranking_has_more_offers_than_slots_and_is_never_tiny() -> None:
    by_slots = {slots: plan(time_left_ns=2 * MS, slots=slots) for slots in (1, 10, 40)}

    assert [by_slots[slots].rung for slots in (1, 10, 40)] == [Rung.REDUCED, Rung.REDUCED, Rung.DEFAULT]
    assert plan(time_left_ns=MS).rows == 0 or plan(time_left_ns=MS).rows >= FEWEST_ROWS


def test_no_time_at_all_is_the_lowest_rung_and_no_error() -> None:
    assert plan(time_left_ns=0) == Plan(Rung.DEFAULT)
    assert plan(time_left_ns=-5 * MS, cached=True) == Plan(Rung.CACHED)


def test_rung_never_rises_as_the_time_left_falls() -> None:
    plans = [plan(time_left_ns=us * 1_000, rest_ns=200_000, cached=True) for us in range(100, 60_000, 100)]

    rungs = [chosen.rung for chosen in plans]
    assert rungs == sorted(rungs, reverse=True)
    assert set(rungs) == {Rung.FULL, Rung.REDUCED, Rung.CACHED}


def test_no_planned_run_leaves_too_little_for_the_rest() -> None:
    for us in range(100, 60_000, 100):
        chosen = plan(time_left_ns=us * 1_000, rest_ns=300_000)
        assert chosen.limit_ns + 300_000 < us * 1_000 or chosen.rung == Rung.DEFAULT


def test_plan_is_plain_numbers_that_a_replay_can_take_as_given() -> None:
    assert [type(field) for field in plan(time_left_ns=20 * MS)] == [int, int, int]
    assert [type(field) for field in without_model(True)] == [int, int, int]


def test_overheads_are_learnt_from_decisions() -> None:
    rest = overheads()

    for decision in range(100):
        rest.observe(350, 30_000, NOW + decision)

    assert rest.estimate_ns(350, NOW + 100) == pytest.approx(30_000, rel=0.1)


@pytest.mark.parametrize("count", [1, 7, 64, 199, 200, 500])
@pytest.mark.parametrize("distinct", [1, 3, 1_000])
def test_shortlist_is_the_head_of_a_stable_sort(count: int, distinct: int) -> None:
    chance = np.random.default_rng(count * distinct)
    for _ in range(20):
        key = chance.integers(0, distinct, 200).astype(np.float64) - 2.0

        places = shortlist(key, count)

        wanted = sorted(sorted(range(200), key=lambda place: (-key[place], place))[:count])
        assert places.tolist() == wanted
