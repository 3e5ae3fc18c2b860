"""The condition language is CEL: what Google's implementation evaluates to true lets an offer through, all else not."""

from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.domain.attribute import Value
from server.domain.offer import Offer
from server.intelligence.eligibility import compile_eligibility
from tests.properties.conditions import Condition, conditions, contexts, customers, offer_attributes
from tests.support.catalogs import offer
from tests.support.conditions import OFFERS, through, variables, vocabulary

EXAMPLES = 250
CUSTOMERS = 5
ANY_OFFER = offer(
    "any", attributes={"level": 0.0, "department": "grocery", "promo": True, "audience": ("vegan", "gold")}
)
"""Has every attribute, so that every name is known whatever the generated offers have."""

_TEXTS_TO_ANYTHING = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_ENVIRONMENT = cel.NewEnv(variables=dict.fromkeys(("customer", "context", "offer"), _TEXTS_TO_ANYTHING))


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


def is_exactly_true(expression: Any, data: Mapping[str, Any]) -> bool:
    """What CEL says; an error is not true."""
    value = expression.eval(data=data)
    return bool(value.type() == cel.Type.BOOL and value.plain_value() is True)


@settings(max_examples=EXAMPLES)
@given(
    conditions,
    st.lists(st.tuples(customers, contexts), min_size=CUSTOMERS, max_size=CUSTOMERS),
    st.lists(offer_attributes, min_size=2, max_size=2),
)
def test_condition_lets_an_offer_through_exactly_if_cel_says_true(
    condition: Condition,
    people: list[tuple[dict[str, Value], dict[str, Value]]],
    attributes: list[dict[str, Value]],
) -> None:
    offers = [Offer("a", "t", OFFERS[0].value, each, eligible=condition.ours) for each in attributes]
    eligibility, problems = compile_eligibility([*offers, ANY_OFFER], vocabulary([*offers, ANY_OFFER]))
    assume(not any("too complex" in problem.description for problem in problems))
    assert not problems, [str(problem) for problem in problems]
    expression = _ENVIRONMENT.compile(condition.cel)

    for customer, context in people:
        allowed = through(eligibility, variables(customer, context))
        for place, offer_ in enumerate(offers):
            data = {"customer": nested(customer), "context": nested(context), "offer": nested(offer_.attributes)}
            assert bool(allowed[place]) == is_exactly_true(expression, data), (condition.cel, data)
