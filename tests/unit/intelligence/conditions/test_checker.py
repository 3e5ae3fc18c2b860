import pytest

from server.intelligence.conditions.checker import check
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.vocabulary import Vocabulary
from tests.support.conditions import CUSTOMER, vocabulary


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
        "customer.visits > customer.score",
        "customer.visits > context.hour",
        "customer.member == context.vip",
        "customer.tier == customer.wish",
        "customer.tier == context.device",
        "-customer.visits + 2 * context.hour / offer.level <= 1 - customer.last_visit",
        "customer.visits + 1 in [2, -3]",
        'context.time >= timestamp("2026-01-01T00:00:00Z") - duration("1h")',
        'context.time - timestamp("2026-01-01T00:00:00Z") < duration("1h") + duration("1m")',
        'duration("1h") + context.time != context.time',
        "has(context.time)",
        'customer.tier.startsWith("g")',
        'customer.tier.matches(r"^\\w+$") && "gold".contains("o")',
        "context.device.endsWith(offer.department)",
        'offer.department.contains("x")',
        'offer.id == "any" && offer.tactic in ["discount"] && !has(offer.exclusion_group)',
        "offer.tactic in customer.tags",
        "history.impressions_7d < 3 && history.days_since_click > 2 * history.tactic_clicks_30d",
        "has(history.days_since_offer_impression)",
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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("customer.visits + customer.tier > 1", "1:17: + does not take a number and a category"),
        ('customer.tier + "a" == "b"', "1:15: + does not take a category and a category"),
        ("customer.visits + true > 1", "1:17: + does not take a number and a boolean"),
        ("customer.visits * [1] > 1", "1:17: * does not take a number and a list"),
        ("customer.tags - 1 > 1", "1:15: - does not take a set and a number"),
        ("context.time + context.time > context.time", "1:14: + does not take a timestamp and a timestamp"),
        ('duration("1h") * 2 > duration("2h")', "1:16: * does not take a duration and a number"),
        ('duration("1h") - context.time > duration("2h")', "1:16: - does not take a duration and a timestamp"),
        ("context.time > 5", "1:14: cannot compare a timestamp with a number"),
        ("customer.last_visit > context.time", "1:21: cannot compare a number with a timestamp"),
        ('context.time in ["a"]', "1:18: the list must hold values of type timestamp"),
        ("context.time", "1:1: context.time is a timestamp, not true or false"),
        ("context.tme > context.time", "1:1: unknown attribute context.tme; did you mean context.time?"),
        ('context.time["a"] > context.time', "1:1: context.time is not keyed"),
        ('-duration("1h") < duration("2h")', "1:1: - negates a number, not a duration"),
        ("-customer.tier == 1", "1:1: - negates a number, not a category"),
        ("-[1] == 1", "1:1: - negates a number, not a list"),
        ("-customer.visits", "1:1: expected something that is true or false"),
        ('customer.tags.startsWith("a")', "1:15: startsWith tests a text, not a set"),
        ('customer.visits.matches("a")', "1:17: matches tests a text, not a number"),
        ('["a"].contains("a")', "1:7: contains tests a text, not a list"),
        ("customer.tier.contains(1)", "1:24: contains takes a text, not a number"),
        ('customer.tier.contains(["a"])', "1:24: contains takes a text, not a list"),
        (
            "customer.tier.contains(customer.wish)",
            "1:24: contains takes a text in quotes, or an attribute of the offer",
        ),
        ("customer.tier.contains(offer.level)", "1:24: contains takes a text, not a number"),
        ('customer.tier.matches("[a")', "1:23: is not a regular expression: missing ]"),
        ('customer.tier.startsWith("a") == true', "1:15: compare attributes and values"),
        ("history.impresions_7d > 1", "1:1: unknown name history.impresions_7d; did you mean history.impressions_7d?"),
        ("history.impressions_0d > 1", "1:1: history.impressions_0d: a window has 1 to 365 days"),
        ('history.impressions_7d["a"] > 1', "1:1: history.impressions_7d is not keyed"),
        ("history.clicks_7d", "1:1: history.clicks_7d is a number, not true or false"),
        ("histry.clicks_7d > 1", "1:1: unknown name histry; did you mean history?"),
        ("offer.tactc == 'a'", "1:1: unknown attribute offer.tactc; did you mean offer.tactic?"),
    ],
)
def test_problem_of_what_is_computed_is_named_with_its_place(text: str, problem: str) -> None:
    found = problems(text)

    assert len(found) == 1
    assert found[0].startswith(problem)


def test_history_of_an_offer_needs_an_offer() -> None:
    known = Vocabulary({"customer": CUSTOMER}, variables=("customer",), history=HistoryColumns())

    def found(text: str) -> list[str]:
        return [str(problem) for problem in check(parse(text), known)]

    assert found("history.clicks_7d > 1") == []
    assert found("history.offer_clicks_7d > 1") == [
        "1:1: history.offer_clicks_7d is about one offer, which is not known here"
    ]


def test_every_problem_is_listed() -> None:
    assert len(problems('customer.a > 1 || customer.b || !(customer.tier == "x")')) == 3


@pytest.mark.parametrize("text", ['["vegan"] in customer.tags', '["a"] in ["a"]', "[1] in [1]"])
def test_list_on_the_left_of_in_is_a_problem(text: str) -> None:
    assert problems(text)


def test_whatever_passes_the_check_compiles() -> None:
    expression = parse('["vegan"] in customer.tags')

    if not check(expression, vocabulary()):
        compile_condition(expression, vocabulary(), {})
