"""Whatever somebody writes is a condition that compiles and can be asked, or is refused with a place."""

from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.condition import ConditionError
from server.domain.offer_table import values_of
from server.intelligence.conditions.checker import check
from server.intelligence.conditions.compiler import compile_condition
from server.intelligence.conditions.parser import parse
from server.intelligence.conditions.predicates import Predicates
from tests.support.conditions import NOW_DAYS, OFFERS, variables, vocabulary, with_history

WORDS = (
    *("customer.visits", "customer.tier", "customer.tags", "customer.member", "customer.spend[offer.department]"),
    *(
        "context.time",
        "context.hour",
        "context.device",
        "offer.level",
        "offer.for",
        "offer.id",
        "offer.exclusion_group",
    ),
    *("history.clicks_7d", "history.group_clicks_7d", "history.days_since_click", "customer", "history.x", "has", "in"),
    *(
        '"gold"',
        "'vegan'",
        '"("',
        "1",
        "0.0",
        "-2.5",
        "true",
        "false",
        "[",
        "]",
        "(",
        ")",
        ",",
        ".",
        "!",
        "-",
        "+",
        "*",
    ),
    *("/", "&&", "||", "==", "!=", "<", "<=", ">", ">=", 'duration("1h")', 'timestamp("2026-01-01T00:00:00Z")'),
    *(".startsWith(", ".matches(", "has(", "duration(", "1e308", "[]", '["gold"]', "[1, -2]"),
)
ROW = variables({"visits": 1.0, "tier": "gold", "tags": ("vegan",)}, {"hour": 2.0})


def ask(text: str) -> None:
    """Parses, checks, compiles for two offers, and asks; nothing but a refusal may come of it."""
    known = vocabulary()
    try:
        expression = parse(text)
    except ConditionError:
        return
    if check(expression, known):
        return
    for offer in OFFERS[:2]:
        for holds in (True, False):
            try:
                parts = compile_condition(expression, known, values_of(offer), holds)
            except ConditionError:
                continue
            predicates = Predicates(clause for _, clauses in parts for clause in clauses)
            assert known.history is not None
            predicates.truth(with_history(ROW, known.history, {}), NOW_DAYS)


@settings(max_examples=1_000)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_words_are_understood_or_refused(text: str) -> None:
    ask(text)


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    ask(text)


OPERANDS = st.sampled_from([word for word in WORDS if word[0].isalnum() or word[0] in "\"'["])


@settings(max_examples=1_500)
@given(
    OPERANDS,
    st.lists(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "==", "!=", "<", ">=", "in", "&&", "||"]), OPERANDS), max_size=4
    ),
    st.sampled_from(["{}", "!({})", "-{}", "({}).matches('o')", "has({})", "({}) == ({})"]),
)
def test_operands_of_any_kinds_are_understood_or_refused(first: str, rest: list[tuple[str, str]], around: str) -> None:
    text = " ".join([first, *(word for pair in rest for word in pair)])

    ask(around.format(text, text))
