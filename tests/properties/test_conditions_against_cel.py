"""The condition language is CEL: what Google's implementation evaluates to true lets an offer through, all else not."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

import numpy as np
from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.domain.attribute import FloatRow, Value, days_since_epoch
from server.domain.condition import Name, walk
from server.domain.offer import Offer
from server.domain.offer_table import OfferTable, infer_schema
from server.intelligence.audience import Audience
from server.intelligence.conditions.condition_set import ConditionSet
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.requirement import Requirement
from server.intelligence.eligibility import Eligibility, compile_eligibility
from server.intelligence.offer_filter import OfferFilter
from tests.properties.conditions import (
    GROUPS,
    IDS,
    TACTICS,
    Condition,
    conditions,
    contexts,
    customers,
    offer_attributes,
    offer_conditions,
    rich_conditions,
)
from tests.properties.people import TIMES, Person, history_of, people
from tests.support.catalogs import offer
from tests.support.clock import NOON
from tests.support.conditions import CUSTOMER, OFFERS, history_row, through, variables, vocabulary, with_history

CUSTOMERS = 5
CASES, PEOPLE = 500, 20
"""Conditions, and people that each is asked of: 10,000 cases, each with two offers."""

EVERYTHING: dict[str, Value] = {"level": 0.0, "department": "grocery", "promo": True, "audience": ("vegan", "gold")}
ANY_OFFER = offer("any", attributes=EVERYTHING)
"""Has every attribute, so that every name is known whatever the generated offers have."""

_TEXTS_TO_ANYTHING = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ROOTS = ("customer", "context", "offer", "history")
_ENVIRONMENT = cel.NewEnv(variables=dict.fromkeys(_ROOTS, _TEXTS_TO_ANYTHING) | {"now": cel.Type.TIMESTAMP})


def nested(attributes: Mapping[str, Value]) -> dict[str, Any]:
    """Attributes as CEL reads them: sets are lists, and a keyed attribute is a map."""
    values: dict[str, Any] = {"spend": {}}
    for name, value in attributes.items():
        root, _, key = name.partition(".")
        if key:
            values[root][key] = value
        else:
            values[root] = list(value) if isinstance(value, tuple) else value
    return values


def described(offer_: Offer) -> dict[str, Any]:
    """An offer as CEL reads it."""
    group = {"exclusion_group": offer_.exclusion_group} if offer_.exclusion_group else {}
    return {**nested(offer_.attributes), "id": offer_.id, "tactic": offer_.tactic, **group}


def outcome(expression: Any, data: Mapping[str, Any]) -> bool | None:
    """What CEL says; None is an error."""
    value = expression.eval(data=data)
    return bool(value.plain_value()) if value.type() == cel.Type.BOOL else None


def roots_of(text: str) -> set[str]:
    """Whom a condition is about."""
    names = [node for node in walk(parse(text)) if isinstance(node, Name)]
    scopes = ("offer", "group", "tactic")
    about_offers = tuple(f"history.{before}{scope}_" for before in ("", "days_since_") for scope in scopes)
    full = [f"{name.root}.{name.attribute}" for name in names if (name.root, name.attribute) != ("context", "time")]
    return {"offer" if name.startswith(about_offers) else name.partition(".")[0] for name in full}


@settings(max_examples=250)
@given(
    conditions,
    st.lists(st.tuples(customers, contexts), min_size=CUSTOMERS, max_size=CUSTOMERS),
    st.lists(offer_attributes, min_size=2, max_size=2),
)
def test_condition_lets_an_offer_through_exactly_if_cel_says_true(
    condition: Condition,
    asked: list[tuple[dict[str, Value], dict[str, Value]]],
    attributes: list[dict[str, Value]],
) -> None:
    offers = [Offer("a", "t", OFFERS[0].value, each, eligible=condition.ours) for each in attributes]
    eligibility, problems = compile_eligibility([*offers, ANY_OFFER], vocabulary([*offers, ANY_OFFER]))
    assume(not any("too complex" in problem.description for problem in problems))
    assert not problems, [str(problem) for problem in problems]
    expression = _ENVIRONMENT.compile(condition.cel)

    for customer, context in asked:
        allowed = through(eligibility, variables(customer, context))
        for place, offer_ in enumerate(offers):
            data = {"customer": nested(customer), "context": nested(context), "offer": described(offer_)}
            says = outcome(expression, data | {"history": {}, "now": NOON})
            assert bool(allowed[place]) is (says is True), (condition.cel, data)


class Asked:
    """One condition compiled in every way, for the same two offers."""

    def __init__(self, text: str, attributes: Sequence[dict[str, Value]], random: Random) -> None:
        self.offers = [
            Offer(
                offer_id,
                random.choice(TACTICS),
                OFFERS[0].value,
                each,
                exclusion_group=random.choice(("", *GROUPS)),
            )
            for offer_id, each in zip(IDS, attributes, strict=True)
        ]
        everything = [*self.offers, ANY_OFFER]
        self.columns = HistoryColumns()
        known = vocabulary(everything, self.columns)
        # Every offer stands twice: once it needs the condition, once it needs it to be false.
        plain, negated = Requirement("plain", text), Requirement("negated", text, holds=False)
        further = [[plain]] * 2 + [[negated]] * 2
        self.eligibility, self.problems = compile_eligibility([*self.offers, *self.offers], known, further)
        self.alone = ConditionSet.compile([plain, negated, Requirement("", "")], known) if self.alone_is(text) else None

    @staticmethod
    def alone_is(text: str) -> bool:
        """Whether a condition is about no offer."""
        return "offer" not in roots_of(text)

    def row(self, person: Person) -> FloatRow:
        """What the server reads of a person."""
        return with_history(person.row, self.columns, person.contacts)


@settings(max_examples=CASES, deadline=None)
@given(
    rich_conditions,
    st.lists(offer_attributes, min_size=2, max_size=2),
    st.sampled_from(TIMES),
    st.integers(0, 1_000_000),
)
def test_one_customer_and_all_offers_and_one_condition_and_all_customers_and_cel_agree(
    condition: Condition, attributes: list[dict[str, Value]], now: datetime, seed: int
) -> None:
    random = Random(seed)
    asked = Asked(condition.ours, attributes, random)
    assume(not any("too complex" in problem.description for problem in asked.problems))
    assert not asked.problems, [str(problem) for problem in asked.problems]
    expression = _ENVIRONMENT.compile(condition.cel)
    somebody = random.sample(people(200), PEOPLE)
    now_days = days_since_epoch(now)

    says = [[said(expression, person, each, now) for each in asked.offers] for person in somebody]

    rows = [asked.row(person) for person in somebody]
    for row, expected in zip(rows, says, strict=True):
        allowed = through(asked.eligibility, row, now_days).tolist()
        assert allowed == [each is True for each in expected] + [each is False for each in expected], condition.cel
    assert_matrix_agrees(asked.eligibility, rows, now_days)
    if asked.alone is not None:
        alone, problems = asked.alone
        assert not problems
        for row, expected in zip(rows, says, strict=True):
            assert alone.holds(row, now_days).tolist() == [expected[0] is True, expected[0] is False, True]
    if roots_of(condition.ours) <= {"customer", "history"}:
        audience = Audience.compile(condition.ours, CUSTOMER)
        columns = np.array([person.row for person in somebody]).T[audience.columns]
        history = np.array([history_row(audience.history, person.contacts) for person in somebody]).T
        in_it = audience.holds(columns, history, now_days).tolist()
        assert in_it == [expected[0] is True for expected in says], condition.cel


def said(expression: Any, person: Person, offer_: Offer, now: datetime) -> bool | None:
    """What CEL says of one person and offer."""
    data = {
        "customer": nested(person.customer),
        "context": nested(person.context),
        "offer": described(offer_),
        "history": history_of(person, offer_),
        "now": now,
    }
    return outcome(expression, data)


def assert_matrix_agrees(eligibility: Eligibility, rows: list[FloatRow], now_days: float) -> None:
    """All rows at once are as each alone."""
    together = eligibility.predicates.truth(np.array(rows).T, now_days)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(together[:, place], eligibility.truth(row, now_days))


@settings(max_examples=150)
@given(offer_conditions, st.lists(offer_attributes, min_size=4, max_size=4), st.integers(0, 1_000_000))
def test_filter_keeps_exactly_the_offers_of_which_cel_says_true(
    condition: Condition, attributes: list[dict[str, Value]], seed: int
) -> None:
    random = Random(seed)
    offers = [
        Offer(str(n), random.choice(TACTICS), OFFERS[0].value, each, exclusion_group=random.choice(("", *GROUPS)))
        for n, each in enumerate(attributes)
    ]
    laid_out, fitting, _ = infer_schema([*offers, ANY_OFFER])
    expression = _ENVIRONMENT.compile(condition.cel)

    mask = OfferFilter(OfferTable.of(fitting, laid_out)).mask(condition.ours)

    for offer_, kept in zip(offers, mask.tolist(), strict=False):
        data = {"customer": {}, "context": {}, "history": {}, "offer": described(offer_), "now": NOON}
        assert kept is (outcome(expression, data) is True), (condition.cel, data)
