import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.domain.offer import Offer
from server.intelligence import eligibility as module
from server.intelligence.conditions import requirement
from server.intelligence.conditions.clauses import Clauses
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.requirement import Requirement
from server.intelligence.eligibility import Eligibility, compile_eligibility, pack
from tests.support.catalogs import offer
from tests.support.conditions import NOW_DAYS, through, variables, vocabulary, with_history


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


def test_what_else_an_offer_requires_is_explained_in_its_own_words() -> None:
    rule = Requirement("rules[3].when", "customer.member", holds=False, words="excluded by rule R: customer.member")
    more = Requirement("rules[4].when", "customer.visits > 1 || customer.member", holds=False)
    offers = [offer("a", eligible="customer.visits > 1"), offer("b"), offer("c")]

    eligibility, problems = compile_eligibility(offers, vocabulary(), [[rule], [rule, more], []])

    assert not problems
    assert [eligibility.failures[clause] for clause in eligibility.clauses_of(0)] == [
        "does not hold: customer.visits > 1", "excluded by rule R: customer.member",
    ]  # fmt: skip
    assert [eligibility.texts[clause] for clause in eligibility.clauses_of(1)] == [
        "not excluded by rule R: customer.member", "!(customer.visits > 1)", "!(customer.member)",
    ]  # fmt: skip
    assert eligible(eligibility, visits=2.0, member=False) == [0, 2]
    assert eligible(eligibility, visits=0.0, member=False) == [1, 2]
    assert eligible(eligibility, visits=2.0, member=True) == [2]
    assert eligible(eligibility, visits=2.0) == [2]


def test_rule_that_says_nothing_excludes_everybody() -> None:
    rule = Requirement("rules[0].when", " ", holds=False, words="excluded by rule R")
    eligibility, problems = compile_eligibility([offer("a"), offer("b")], vocabulary(), [[rule], []])

    assert not problems
    assert eligible(eligibility, visits=1.0) == [1]
    assert [eligibility.failures[clause] for clause in eligibility.clauses_of(0)] == ["excluded by rule R"]


def test_problem_of_a_rule_is_named_once_whatever_offers_it_is_for() -> None:
    rule = Requirement("rules[0].when", "customer.vists > 1", holds=False)

    _, problems = compile_eligibility([offer("a"), offer("b")], vocabulary(), [[rule], [rule]])

    assert [problem.path for problem in problems] == ["rules[0].when"]


def test_history_of_each_offer_is_its_own() -> None:
    columns = HistoryColumns()
    offers = [offer(name, eligible="history.offer_clicks_7d < 1") for name in ("a", "b")]
    eligibility, _ = compile_eligibility(offers, vocabulary(offers, columns))

    assert [variable.key for variable in columns.variables] == ["a", "b"]
    row = with_history(variables({}, {}), columns, {columns.variables[0]: 1.0})
    assert np.flatnonzero(through(eligibility, row)).tolist() == [1]


def test_condition_is_compiled_once_for_offers_that_give_it_equal_values(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def counted(*args: Any, **more: Any) -> list[tuple[str, Clauses]]:
        calls.append(args)
        return compile_condition(*args, **more)

    monkeypatch.setattr(requirement, "compile_condition", counted)
    text = 'customer.visits > offer.level && offer.tactic == "discount"'
    compiled(*(offer(str(n), eligible=text, attributes={"level": float(n % 3), "other": n}) for n in range(30)))

    assert len(calls) == 3


def test_zero_and_negative_zero_are_different_values() -> None:
    base = offer("a", eligible="customer.visits / offer.level > 1")

    eligibility = compiled(replace(base, attributes={"level": 0.0}), replace(base, attributes={"level": -0.0}))

    assert eligible(eligibility, visits=1.0) == [0]
    assert eligible(eligibility, visits=-1.0) == [1]


def test_condition_of_one_offer_may_have_to_be_false_for_another() -> None:
    text = "customer.visits > 1"
    further = [[Requirement("", text)], [Requirement("", text, holds=False)]]
    eligibility, _ = compile_eligibility([offer("a"), offer("b")], vocabulary(), further)

    assert eligible(eligibility, visits=2.0) == [0]
    assert eligible(eligibility, visits=1.0) == [1]


@pytest.mark.parametrize("many_words", [0, 1 << 30])
def test_clauses_of_few_offers_and_of_many_exclude_together(monkeypatch: pytest.MonkeyPatch, many_words: int) -> None:
    monkeypatch.setattr(module, "_MANY_WORDS", many_words)
    text = "customer.visits >= offer.level && customer.member && customer.score > 1"
    eligibility = compiled(
        *(
            offer(str(n), eligible=text if n % 2 else "customer.score > 1", attributes={"level": float(n)})
            for n in range(90)
        )
    )

    assert (eligibility.common is None) is (many_words > 0)
    assert eligible(eligibility, visits=7.0, member=True, score=2.0) == sorted([*range(0, 90, 2), 1, 3, 5, 7])
    assert eligible(eligibility, visits=7.0, member=False, score=2.0) == [*range(0, 90, 2)]
    assert eligible(eligibility, visits=7.0, member=True, score=1.0) == []
    assert [eligibility.texts[clause] for clause in eligibility.clauses_of(5)] == [
        "customer.score > 1", "customer.member", "customer.visits >= offer.level",
    ]  # fmt: skip


def test_a_catalog_computes_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPUTED", 2)
    offers = [
        offer(str(n), eligible="customer.visits * offer.level > 1", attributes={"level": float(n)}) for n in range(6)
    ]

    _, problems = compile_eligibility(offers, vocabulary(offers))

    assert [problem.path for problem in problems] == ["offers[2].eligible"]
    assert "different computed numbers" in problems[0].description


def test_eligibility_survives_the_way_between_processes() -> None:
    eligibility = compiled(offer("a", eligible='customer.visits / 2 > 1 && customer.tier.contains("o")'))

    again = pickle.loads(pickle.dumps(eligibility))

    assert eligible(again, visits=3.0, tier="gold") == [0]
    assert eligible(again, visits=2.0, tier="gold") == []


@pytest.mark.parametrize("many_words", [module._MANY_WORDS, 0], ids=["bit sets", "rare clauses as pairs"])
def test_many_customers_are_offered_what_each_of_them_is(many_words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY_WORDS", many_words)
    offers = [offer(str(n), eligible=f"customer.visits != {n % 70} && customer.score > 0") for n in range(130)]
    eligibility = compiled(*offers, offer("everybody"))
    rows = [variables({"visits": float(v), "score": s}, {}) for v in (-1, 0, 5, 69) for s in (1.0, -1.0)]

    allowed = eligibility.eligible_many(eligibility.truth(np.stack(rows, axis=1), NOW_DAYS))

    assert allowed.tolist() == [through(eligibility, row).tolist() for row in rows]
    assert allowed.sum(axis=1).tolist()[:4] == [131, 1, 129, 1]
    assert (eligibility.common is None) == (many_words > 0)


def test_nobody_and_no_conditions_are_no_matter() -> None:
    some = compiled(offer("a", eligible="customer.visits > 1"), offer("b"))
    none = compiled(offer("a"), offer("b"))
    row = variables({}, {})

    assert some.eligible_many(some.truth(np.empty((len(row), 0), np.float32), NOW_DAYS)).shape == (0, 2)
    assert none.eligible_many(none.truth(row[:, None], NOW_DAYS)).tolist() == [[True, True]]
