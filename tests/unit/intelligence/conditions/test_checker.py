import pytest

from server.intelligence.conditions.checker import check
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from tests.support.conditions import vocabulary


def problems(text: str) -> list[str]:
    return [str(problem) for problem in check(parse(text), vocabulary())]


@pytest.mark.parametrize(
    "text",
    [
        "customer.member",
        "!customer.member && true",
        "customer.visits >= offer.level",
        "offer.level < customer.visits",
        "customer.last_visit < 7",
        'customer.tier == "gold" && customer.tier != offer.department',
        'customer.tier in ["gold", "silver"]',
        "customer.visits in [1, 2.5]",
        "customer.member in [true]",
        "customer.visits in []",
        '"vegan" in customer.tags',
        "offer.department in customer.tags",
        '"vegan" in offer.for',
        'customer.spend["floral"] > 1',
        "customer.spend[offer.department] > 1",
        "has(customer.spend[offer.department])",
        "offer.promo",
        'offer.department == "no such department"',
        "1 == 1",
    ],
)
def test_well_typed_condition_has_no_problem(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("custmer.visits > 1", "1:1: unknown name custmer; did you mean customer?"),
        ("customer.vists > 1", "1:1: unknown attribute customer.vists; did you mean customer.visits?"),
        ("offer.aisle == 1", "1:1: unknown attribute offer.aisle"),
        ("customer.visits", "1:1: customer.visits is a number, not true or false"),
        ("1", "1:1: expected something that is true or false"),
        ('customer.member && "yes"', "1:20: expected something that is true or false"),
        ("[1]", "1:1: expected something that is true or false"),
        ("customer.visits == true", "1:17: cannot compare a number with a boolean"),
        ('customer.visits < "a"', "1:17: cannot compare a number with a category"),
        ('customer.tier < "gold"', "1:15: < compares numbers and times, not a category"),
        ("customer.member < true", "1:17: < compares numbers and times, not a boolean"),
        ('customer.tags == "vegan"', "1:15: == does not take a list; use `in`"),
        ("customer.visits == [1]", "1:17: == does not take a list; use `in`"),
        ("customer.visits in customer.tags", "1:17: a set holds texts, not a number"),
        (
            "customer.tier in customer.tags",
            "1:15: compare an attribute with a value or with an attribute of the offer",
        ),
        ("1 in customer.tags", "1:3: a set holds texts, not a number"),
        ("1 in offer.level", "1:3: the right side of `in` is a list or an attribute of type set"),
        ('customer.visits in [1, "a"]', "1:24: the list must hold values of type number"),
        ('customer.tier == "glod"', "1:18: customer.tier has no value 'glod'; did you mean 'gold'?"),
        ('customer.tier in ["gold", "lead"]', "1:27: customer.tier has no value 'lead'"),
        ('"zen" in customer.tags', "1:1: customer.tags has no value 'zen'"),
        ('context.device == "fax"', "1:19: context.device has no value 'fax'"),
        ("customer.spend > 1", "1:1: customer.spend is keyed; write customer.spend[offer.department]"),
        ("has(customer.spend)", "1:5: customer.spend is keyed; write customer.spend[offer.department]"),
        ('customer.visits["a"] > 1', "1:1: customer.visits is not keyed; write visits"),
        ('customer.spend["tools"] > 1', "1:16: spend has no key 'tools'"),
        ("customer.spend[customer.tier] > 1", "1:16: a key is a text, or an attribute of the offer"),
        ("customer.spend[offer.level] > 1", "1:16: a key is a text, and offer.level is a number"),
        ("(customer.member) == (customer.visits > 1)", "1:39: compare attributes and values"),
    ],
)
def test_problem_is_named_with_its_place(text: str, problem: str) -> None:
    found = problems(text)

    assert len(found) == 1
    assert found[0].startswith(problem)


def test_every_problem_is_listed() -> None:
    assert len(problems('customer.a > 1 || customer.b || !(customer.tier == "x")')) == 3


@pytest.mark.parametrize("text", ['["vegan"] in customer.tags', '["a"] in ["a"]', "[1] in [1]"])
def test_list_on_the_left_of_in_is_a_problem(text: str) -> None:
    assert problems(text)


def test_whatever_passes_the_check_compiles() -> None:
    expression = parse('["vegan"] in customer.tags')

    if not check(expression, vocabulary()):
        compile_condition(expression, vocabulary(), {})
