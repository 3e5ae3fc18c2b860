from collections.abc import Mapping

import numpy as np
import pytest

from server.domain.attribute import Value
from server.domain.condition import ConditionError
from server.domain.contact import ContactKind, ContactScope, HistoryVariable
from server.intelligence.conditions import history
from server.intelligence.conditions.clauses import FALSE, TRUE
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.predicates import Predicates
from server.intelligence.conditions.vocabulary import Vocabulary
from tests.support.catalogs import category, offer, schema
from tests.support.conditions import holds, variables, vocabulary

VISITS: Mapping[str, Value] = {"visits": 5.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer.visits < 5", False), ("customer.visits < 5.5", True), ("customer.visits <= 5", True),
        ("customer.visits <= 4.5", False), ("customer.visits > 5", False), ("customer.visits > 4.5", True),
        ("customer.visits >= 5", True), ("customer.visits >= 5.5", False), ("customer.visits == 5", True),
        ("customer.visits != 5", False), ("customer.visits != 4", True),
        ("5 < customer.visits", False), ("4.5 < customer.visits", True), ("5 >= customer.visits", True),
        ("!(customer.visits < 5)", True), ("!(customer.visits >= 5)", False), ("!(customer.visits > 5)", True),
        ("customer.visits in [1, 5]", True), ("!(customer.visits in [1, 5])", False), ("customer.visits in []", False),
        ("!(customer.visits in [])", True),
    ],
)  # fmt: skip
def test_numbers_compare_as_they_say(text: str, expected: bool) -> None:
    assert holds(text, VISITS) is expected


@pytest.mark.parametrize(
    "text",
    [
        "customer.score < 5", "customer.score >= 5", "customer.score == 5", "customer.score != 5",
        "!(customer.score == 5)", "customer.score in [5]", "!(customer.score in [5])", "!(customer.score in [])",
        'customer.tier == "gold"', 'customer.tier != "gold"', '!("vegan" in customer.tags)', "customer.member",
        "!customer.member", 'customer.spend["grocery"] < 1', "customer.spend[offer.department] < 1",
        "customer.visits > offer.level", "offer.promo", "!offer.promo", '!("vegan" in offer.for)', "offer.level != 1",
        "has(customer.score)", "has(offer.level)", "has(customer.spend[offer.department])",
    ],
)  # fmt: skip
def test_nothing_but_absence_can_be_said_of_what_is_missing(text: str) -> None:
    assert not holds(text, VISITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer.score > 1 || customer.visits == 5", True),
        ("customer.score > 1 || customer.visits == 4", False),
        ("customer.score > 1 && customer.visits == 4", False),
        ("!(customer.score > 1 && customer.visits == 4)", True),
        ("!(customer.score > 1 && customer.visits == 5)", False),
        ("!(customer.score > 1 || customer.visits == 4)", False),
        ("!has(customer.score) || customer.score > 1", True),
        ("has(customer.score) && customer.score > 1", False),
    ],
)
def test_errors_are_absorbed_as_in_cel(text: str, expected: bool) -> None:
    assert holds(text, VISITS) is expected


def test_offer_attributes_are_constants_of_each_offer() -> None:
    text = "customer.visits >= offer.level && customer.spend[offer.department] > 1"
    customer: dict[str, Value] = {"visits": 3.0, "spend.grocery": 2.0}

    assert holds(text, customer, attributes={"level": 3.0, "department": "grocery"})
    assert not holds(text, customer, attributes={"level": 3.5, "department": "grocery"})
    assert not holds(text, customer, attributes={"level": 3.0, "department": "floral"})
    assert not holds(text, customer, attributes={"level": 3.0, "department": "tools"})
    assert not holds(text, customer, attributes={"department": "grocery"})


def test_category_that_the_customer_cannot_have_differs_from_one_that_is_there() -> None:
    assert holds("customer.tier != offer.department", {"tier": "gold"}, attributes={"department": "tools"})
    assert not holds("customer.tier == offer.department", {"tier": "gold"}, attributes={"department": "tools"})
    assert not holds("customer.tier != offer.department", {}, attributes={"department": "tools"})


def test_constants_are_rounded_to_float32_like_the_values_of_a_row() -> None:
    assert holds("customer.visits == 0.1", {"visits": 0.1})
    assert not holds("customer.visits > 0.1", {"visits": 0.1})
    assert not holds("customer.visits < 0.1", {"visits": 0.1})


def test_condition_on_constants_alone_is_decided_at_once() -> None:
    def clauses(text: str) -> object:
        return compile_condition(parse(text), vocabulary(), {"level": 2.0})

    assert clauses("offer.level > 1") == [("", TRUE)]
    assert clauses("offer.level > 2") == [("", FALSE)]
    assert clauses("offer.promo") == [("", FALSE)]


def test_parts_of_a_conjunction_keep_their_texts() -> None:
    parts = compile_condition(parse("customer.member && (customer.visits > 1 || true)"), vocabulary(), {})

    assert [text for text, _ in parts] == ["customer.member", "(customer.visits > 1 || true)"]


def test_condition_that_would_explode_is_refused() -> None:
    pairs = [f"(customer.visits == {n} && customer.score == {n})" for n in range(10)]

    with pytest.raises(ConditionError, match="too complex"):
        compile_condition(parse(" || ".join(pairs)), vocabulary(), {})


@pytest.mark.parametrize("count", [65, 500])
def test_long_list_is_not_complex(count: int) -> None:
    numbers = ", ".join(str(n) for n in range(count))

    assert holds(f"customer.visits in [{numbers}]", VISITS)


def test_long_list_can_be_negated() -> None:
    numbers = ", ".join(str(n) for n in range(65))

    assert holds(f"!(customer.visits in [{numbers}])", {"visits": 100.0})


def test_category_of_the_customer_is_found_in_a_set_of_the_offer() -> None:
    assert holds("customer.tier in offer.for", {"tier": "gold"}, attributes={"for": ("gold", "silver")})


def test_offer_attribute_does_not_stand_in_for_the_customers_of_the_same_name() -> None:
    attributes: dict[str, Value] = {"for": ("gold",), "tier": "gold"}

    assert not holds("customer.tier in offer.for", {"tier": "basic"}, attributes=attributes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer.visits + 1 == 6", True), ("customer.visits * 2 - 3 > 6.5", True), ("-customer.visits < -4", True),
        ("customer.visits / 2 == 2.5", True), ("customer.visits / 0 > 1e300", True), ("1 / 0 > customer.visits", True),
        ("1 / -0.0 < customer.visits", True), ("customer.visits / -0.0 < 0", True),
        ("customer.visits / 0.0 == customer.visits / -0.0", False), ("0 * (1 / 0) != customer.visits", True),
        ("!(0 * (1 / 0) == customer.visits)", True), ("customer.visits < 0 / 0", False),
        ("!(customer.visits < 0 / 0)", True),
        ("customer.visits + 0 / 0 != 1", True), ("!(customer.visits + 0 / 0 >= 1)", True),
        ("(customer.visits - 5) / (customer.visits - 5) != 1", True), ("customer.visits + 1 in [5, 6]", True),
        ("!(customer.visits + 1 in [])", True), ("customer.visits > 1e39", False), ("customer.visits < 1e39", True),
        ("customer.visits > -1e39", True), ("customer.visits <= customer.visits", True), ("1 + 2 * 3 == 7", True),
        ("offer.level * 2 == customer.visits + 3", True), ("offer.level * 2 == 8", True), ("-offer.level < 0", True),
        ("customer.visits == offer.level + 1", True), ("customer.visits in [5] && offer.level / 0 > 1", True),
    ],
)  # fmt: skip
def test_arithmetic_is_that_of_doubles(text: str, expected: bool) -> None:
    assert holds(text, VISITS, attributes={"level": 4.0}) is expected


@pytest.mark.parametrize(
    "text",
    [
        "customer.score + 1 == 6", "customer.score + 1 != 6", "!(customer.visits + customer.score > 1)",
        "customer.score / 0 > 1", "customer.score * 0 == 0", "customer.visits + offer.level > 1", "-offer.level < 1",
        "offer.level + 1 != 2", "customer.visits < customer.score", "!(customer.visits < customer.score)",
        "customer.score + 1 in []", "!(customer.score + 1 in [])", "customer.score == customer.score",
        'customer.spend[offer.department] + 1 > 0', "customer.tier == customer.wish", "customer.tier != customer.wish",
        "history.days_since_click + 1 > 0", "history.group_clicks_7d >= 0", "!(history.group_clicks_7d >= 0)",
        'customer.tier.startsWith("")', '!customer.tier.startsWith("x")', '!customer.tier.matches("")',
        'offer.department.startsWith("")', '!offer.department.startsWith("x")', '"a".contains(offer.department)',
        "customer.tier.contains(offer.department)", 'offer.exclusion_group != "x"',
    ],
)  # fmt: skip
def test_what_is_computed_of_something_missing_is_an_error(text: str) -> None:
    assert not holds(text, VISITS)
    assert holds(f"({text}) || customer.visits == 5", VISITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('context.time == timestamp("2026-11-22T12:00:00Z")', True),
        ('context.time < timestamp("2026-11-22T12:00:00Z")', False),
        ('context.time < timestamp("2026-11-22T12:00:00.000001Z")', True),
        ('context.time - duration("1us") < timestamp("2026-11-22T12:00:00Z")', True),
        ('context.time - timestamp("2026-11-21T00:00:00Z") == duration("36h")', True),
        ('timestamp("2026-11-21T00:00:00Z") + duration("36h") >= context.time', True),
        ('context.time - timestamp("2026-11-21T00:00:00Z") + duration("1s") > duration("36h")', True),
        ('duration("90m") == duration("1.5h")', True),
        ("has(context.time)", True), ("!has(context.time)", False), ("context.time != context.time", False),
    ],
)  # fmt: skip
def test_time_is_that_of_the_decision(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('customer.tier.startsWith("g")', True), ('customer.tier.endsWith("er")', False),
        ('customer.tier.contains("")', True),
        ('!customer.tier.contains("")', False), ('!customer.tier.matches("x")', True),
        ('customer.tier.matches("^[fg]o")', True),
        ('offer.department.endsWith("ry")', True), ('"grocery shop".startsWith(offer.department)', True),
        ("customer.tier.contains(offer.department)", False), ('offer.id.startsWith("on")', True),
    ],
)  # fmt: skip
def test_texts_are_tested_by_their_values(text: str, expected: bool) -> None:
    assert holds(text, {"tier": "gold"}, attributes={"department": "grocery"}) is expected


@pytest.mark.parametrize("chosen", [0, 1, 16, 17, 50, 83, 84, 99, 100])
def test_categories_of_many_values_are_tested_like_those_of_few(chosen: int) -> None:
    values = [f"{'yes' if n < chosen else 'no'}-{n}" for n in range(100)]
    known = Vocabulary({"customer": schema(category("code", *values))}, variables=("customer",))

    for text, expected in (('customer.code.startsWith("yes")', True), ('!customer.code.startsWith("yes")', False)):
        parts = compile_condition(parse(text), known, {})
        predicates = Predicates(clause for _, clauses in parts for clause in clauses)
        for code in {0, chosen - 1, chosen, 99} & set(range(100)):
            row = np.array([code, np.nan], np.float32)
            assert predicates.truth(row).all() == ((code < chosen) is expected)
        # Of a missing value neither can be said.
        assert not predicates.truth(np.full(2, np.nan, np.float32)).all()


@pytest.mark.parametrize("text", ['customer.code.startsWith("yes")', '!customer.code.startsWith("yes")'])
def test_test_of_a_category_of_thousands_of_values_is_one_comparison(text: str) -> None:
    values = [f"{'yes' if n % 2 else 'no'}-{n}" for n in range(4_000)]
    known = Vocabulary({"customer": schema(category("code", *values))}, variables=("customer",))

    parts = compile_condition(parse(text), known, {})

    assert [len(clause) for _, clauses in parts for clause in clauses] == [1]


def test_pattern_that_an_offer_gives_may_be_none() -> None:
    expression = parse("customer.tier.matches(offer.department)")

    with pytest.raises(ConditionError, match="1:23: is not a regular expression"):
        compile_condition(expression, vocabulary(), {"department": "("})


@pytest.mark.parametrize(
    ("customer", "expected"),
    [
        ({"tier": "gold", "wish": "gold"}, True), ({"tier": "gold", "wish": "vegan"}, False),
        ({"tier": "silver", "wish": "gold"}, False),
    ],
)  # fmt: skip
def test_categories_with_other_values_are_compared_by_their_texts(
    customer: Mapping[str, Value], expected: bool
) -> None:
    assert holds("customer.tier == customer.wish", customer) is expected
    assert holds("customer.wish != customer.tier", customer) is not expected


def test_history_is_that_of_the_offer_its_group_and_its_tactic() -> None:
    seen = {
        HistoryVariable(ContactKind.IMPRESSION, 7): 9.0,
        HistoryVariable(ContactKind.IMPRESSION, 7, ContactScope.OFFER, "one"): 1.0,
        HistoryVariable(ContactKind.IMPRESSION, 7, ContactScope.EXCLUSION_GROUP, "drinks"): 2.0,
        HistoryVariable(ContactKind.IMPRESSION, 7, ContactScope.TACTIC, "discount"): 3.0,
        HistoryVariable(ContactKind.CLICK, None, ContactScope.OFFER, "one"): 4.0,
    }
    one = offer("one", exclusion_group="drinks")
    text = (
        "history.impressions_7d == 9 && history.offer_impressions_7d == 1 && history.group_impressions_7d == 2"
        " && history.tactic_impressions_7d == 3 && history.days_since_offer_click == 4"
        " && history.offer_impressions_8d == 0 && has(history.clicks_1d) && !has(history.days_since_click)"
    )

    assert holds(text, history=seen, given=one)
    assert not holds(text, history=seen, given=offer("other", exclusion_group="drinks"))
    assert not holds("has(history.group_impressions_7d)", history=seen)


def test_given_attributes_are_the_offers_own() -> None:
    text = 'offer.id == "one" && offer.tactic == "discount" && offer.exclusion_group == "drinks"'

    assert holds(text, given=offer("one", exclusion_group="drinks"))
    assert not holds("has(offer.exclusion_group)", given=offer("one"))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("customer.visits > 1", True), ("customer.visits > 5", False), ("customer.score > 1", None),
        ("customer.score > 1 && customer.visits > 5", False), ("customer.score > 1 && customer.visits > 1", None),
        ("customer.score > 1 || customer.visits > 1", True), ("customer.score > 1 || customer.visits > 5", None),
        ("customer.visits > 5 || customer.visits > 6", False), ("true", True), ("false", False),
    ],
)  # fmt: skip
def test_definitely_false_is_neither_true_nor_an_error(text: str, outcome: bool | None) -> None:
    for holds_ in (True, False):
        parts = compile_condition(parse(text), vocabulary(), {}, holds=holds_)
        predicates = Predicates(clause for _, clauses in parts for clause in clauses)
        assert predicates.truth(variables(VISITS, {})).all() == (outcome is holds_)


def test_parts_of_a_disjunction_keep_their_texts_where_all_must_be_false() -> None:
    parts = compile_condition(parse("customer.member || customer.visits > 1"), vocabulary(), {}, holds=False)

    assert [text for text, _ in parts] == ["customer.member", "customer.visits > 1"]


def test_history_has_room_for_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_COLUMNS", 1)
    known = vocabulary()
    compile_condition(parse("history.clicks_7d > 1"), known, {})

    with pytest.raises(ConditionError, match="1:1: the catalog reads more than"):
        compile_condition(parse("history.clicks_8d > 1"), known, {})
