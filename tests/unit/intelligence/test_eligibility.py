from dataclasses import replace

import numpy as np
import pytest

from server.domain.offer import Offer
from server.intelligence.eligibility import Eligibility, compile_eligibility, pack
from tests.support.catalogs import offer
from tests.support.conditions import NOW_DAYS, through, variables, vocabulary


def compiled(*offers: Offer) -> Eligibility:
    eligibility, problems = compile_eligibility(offers, vocabulary())
    assert not problems
    return eligibility


def eligible(eligibility: Eligibility, **customer: float | str | bool) -> list[int]:
    return [int(place) for place in np.flatnonzero(through(eligibility, variables(customer, {})))]


def test_offer_without_a_condition_is_for_everybody() -> None:
    assert eligible(compiled(offer("a"), offer("b", eligible="  \n"))) == [0, 1]


def test_offer_needs_all_its_clauses() -> None:
    both = compiled(offer("a", eligible="customer.visits > 1 && customer.member"))

    assert eligible(both, visits=2.0, member=True) == [0]
    assert eligible(both, visits=2.0, member=False) == []
    assert eligible(both, visits=1.0, member=True) == []


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 129])
def test_every_place_of_the_bit_sets_is_its_own(size: int) -> None:
    eligibility = compiled(*(offer(str(n), eligible=f"customer.visits != {n}") for n in range(size)))

    assert eligible(eligibility, visits=-1.0) == list(range(size))
    for missing in {0, size // 2, size - 1} & set(range(size)):
        assert eligible(eligibility, visits=float(missing)) == [n for n in range(size) if n != missing]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 129])
def test_offer_that_may_not_stand_is_not_eligible(size: int) -> None:
    eligibility = compiled(*(offer(str(n), eligible="customer.visits > 1") for n in range(size)))
    standing = np.arange(size) % 3 == 1

    allowed = eligibility.eligible(eligibility.truth(variables({"visits": 2.0}, {}), NOW_DAYS), pack(standing))

    np.testing.assert_array_equal(allowed, standing)


def test_equal_clauses_of_many_offers_are_evaluated_once() -> None:
    eligibility = compiled(*(offer(str(n), eligible="customer.visits > 1 && customer.member") for n in range(10)))

    assert len(eligibility.predicates) == 2


def test_clauses_of_an_offer_are_its_own() -> None:
    eligibility = compiled(
        *(offer(str(n)) for n in range(70)), offer("a", eligible="customer.member && customer.visits > 1")
    )

    assert eligibility.clauses_of(0).tolist() == []
    assert [eligibility.texts[clause] for clause in eligibility.clauses_of(70)] == [
        "customer.member", "customer.visits > 1",
    ]  # fmt: skip


def test_problems_carry_the_place_of_their_offer() -> None:
    broken = [offer("a"), offer("b", eligible="customer.visits >"), offer("c", eligible="customer.vists > 1")]

    _, problems = compile_eligibility(broken, vocabulary())

    assert [problem.path for problem in problems] == ["offers[1].eligible", "offers[2].eligible"]
    assert problems[0].description.startswith("1:18: ")


def test_condition_on_the_offer_is_compiled_for_each_offer() -> None:
    base = offer("a", eligible="customer.visits >= offer.level")

    eligibility = compiled(replace(base, attributes={"level": 1.0}), replace(base, attributes={"level": 2.0}), base)

    assert eligible(eligibility, visits=1.5) == [0]
    assert eligible(eligibility, visits=2.5) == [0, 1]


def test_offer_that_its_own_attributes_exclude_is_explained_by_its_own_condition() -> None:
    eligibility = compiled(
        offer("a", eligible="offer.level > 5", attributes={"level": 1.0}),
        offer("b", eligible="offer.promo", attributes={"promo": False}),
    )

    assert [eligibility.texts[clause] for clause in eligibility.clauses_of(1)] == ["offer.promo"]


def test_condition_is_explained_as_the_offer_itself_writes_it() -> None:
    eligibility = compiled(offer("a", eligible="customer.visits > 1"), offer("b", eligible="1 < customer.visits"))

    assert [eligibility.texts[clause] for clause in eligibility.clauses_of(1)] == ["1 < customer.visits"]
