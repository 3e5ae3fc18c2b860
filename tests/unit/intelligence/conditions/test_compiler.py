from collections.abc import Mapping

import pytest

from server.domain.attribute import Value
from server.domain.condition import ConditionError
from server.intelligence.conditions.clauses import FALSE, TRUE
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from tests.support.conditions import holds, vocabulary

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
