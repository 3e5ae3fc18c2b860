import gc
from typing import Any

import numpy as np
import pytest

from server.execution.cached import BEST, PLACES, CachedRanking, CachedRankings, Where

HOME = Where("home", "web", "en")
NOW_US = 1_000_000_000


def ranking(offers: int = 3, catalog_version: int = 1, model_id: str = "m/1", time_us: int = NOW_US) -> CachedRanking:
    scored = (np.arange(offers), np.linspace(0.1, 0.9, offers), np.linspace(5.0, 1.0, offers))
    return CachedRanking.of(scored, catalog_version=catalog_version, model_id=model_id, time_us=time_us)


def find(
    rankings: CachedRankings, customer: str = "loyalty:1", where: Where = HOME, **changes: Any
) -> CachedRanking | None:
    wanted: dict[str, Any] = {"catalog_version": 1, "model_id": "m/1", "now_us": NOW_US} | changes
    return rankings.find(customer, where, **wanted)


def test_last_ranking_of_a_customer_is_found_where_it_was_made() -> None:
    rankings, first, last = CachedRankings(), ranking(time_us=NOW_US - 1), ranking()
    rankings.remember("loyalty:1", HOME, first)
    rankings.remember("loyalty:1", HOME, last)

    found = find(rankings)
    assert found is not None
    assert found.time_us == NOW_US
    assert found.offers is last.offers
    assert find(rankings, "loyalty:2") is None
    assert find(rankings, where=HOME._replace(locale="de")) is None
    assert find(rankings, where=HOME._replace(channel="email")) is None
    assert find(rankings, where=HOME._replace(placement_id="cart")) is None


@pytest.mark.parametrize("changes", [{"catalog_version": 2}, {"model_id": "m/2"}])
def test_ranking_of_another_catalog_or_model_is_not_repeated(changes: dict[str, Any]) -> None:
    rankings = CachedRankings()
    rankings.remember("loyalty:1", HOME, ranking())

    assert find(rankings, **changes) is None


def test_only_the_best_offers_are_kept() -> None:
    kept = ranking(offers=200)

    assert kept.offers.tolist() == list(range(BEST))
    np.testing.assert_array_equal(kept.propensities, np.linspace(0.1, 0.9, 200)[:BEST])
    assert [kept.offers.dtype.name, kept.propensities.dtype.name] == ["int32", "float64"]


def test_ranking_is_good_for_its_time() -> None:
    rankings = CachedRankings(seconds=60.0)
    rankings.remember("loyalty:1", HOME, ranking())

    assert find(rankings, now_us=NOW_US + 59_999_999) is not None
    assert find(rankings, now_us=NOW_US + 60_000_000) is None


def test_ranking_at_one_placement_does_not_keep_that_at_another() -> None:
    rankings = CachedRankings(seconds=60.0)
    rankings.remember("loyalty:1", HOME, ranking())
    rankings.remember("loyalty:1", HOME._replace(placement_id="cart"), ranking(time_us=NOW_US + 50_000_000))

    assert find(rankings, now_us=NOW_US + 70_000_000) is None
    assert find(rankings, where=HOME._replace(placement_id="cart"), now_us=NOW_US + 70_000_000) is not None


def test_customers_who_were_ranked_least_lately_make_room() -> None:
    rankings = CachedRankings(most=2)
    for customer in ("a", "b", "a", "c"):
        rankings.remember(customer, HOME, ranking())

    assert [find(rankings, customer) is not None for customer in "abc"] == [True, False, True]


def test_one_customer_in_ever_new_locales_does_not_fill_the_memory() -> None:
    rankings = CachedRankings()

    for number in range(3 * PLACES):
        rankings.remember("loyalty:1", HOME._replace(locale=str(number)), ranking())

    found = [find(rankings, where=HOME._replace(locale=str(number))) for number in range(3 * PLACES)]
    assert 1 <= sum(each is not None for each in found) <= PLACES
    assert found[-1] is not None


def test_erased_customer_is_forgotten_everywhere() -> None:
    rankings = CachedRankings()
    for where in (HOME, HOME._replace(locale="de")):
        rankings.remember("loyalty:1", where, ranking())
        rankings.remember("loyalty:2", where, ranking())

    rankings.forget("loyalty:1")
    rankings.forget("loyalty:unknown")

    assert find(rankings) is None
    assert find(rankings, where=HOME._replace(locale="de")) is None
    assert find(rankings, "loyalty:2") is not None


def test_collector_has_nothing_to_walk() -> None:
    rankings = CachedRankings()
    for n in range(100):
        rankings.remember(f"loyalty:{n}", HOME, ranking())

    gc.collect()

    kept = list(rankings._customers.values())
    assert len(kept) == 100
    assert not any(gc.is_tracked(each) for each in kept)
    assert not any(gc.is_tracked(part) for each in kept for parts in each.items() for part in parts)
