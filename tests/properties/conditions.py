"""Strategies for well-typed conditions, as the product writes them and as plain CEL writes them, and for customers.

The two texts differ only where the product goes beyond CEL: `has()` of one cell of a keyed attribute, which CEL says
with `in`. All numbers are multiples of a quarter, which float32 holds exactly.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from server.domain.attribute import Value

TIERS = ("basic", "silver", "gold")
TAGS = ("vegan", "parent", "student")
DEPARTMENTS = ("grocery", "floral")
DEVICES = ("phone", "desktop")


class Condition(NamedTuple):
    """One condition in both dialects."""

    ours: str
    cel: str


def same(text: str) -> Condition:
    """A condition that both dialects write alike."""
    return Condition(text, text)


quarters = st.integers(-12, 12).map(lambda quarters: quarters / 4)
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
numbers = st.sampled_from(
    [
        "customer.visits",
        "customer.score",
        "customer.spend[offer.department]",
        'customer.spend["grocery"]',
        "context.hour",
    ]
)
categories = st.sampled_from([("customer.tier", TIERS), ("context.device", DEVICES)])


def listed(texts: Sequence[str]) -> str:
    """A CEL list."""
    return f"[{', '.join(texts)}]"


def quoted(text: str) -> str:
    """A CEL text."""
    return f'"{text}"'


@st.composite
def number_comparisons(draw: st.DrawFn) -> str:
    """A number of the customer, the context or the offer beside a constant or a number of the offer."""
    if draw(st.integers(0, 4)) == 0:
        left, right = "offer.level", str(draw(quarters))
    else:
        left, right = draw(numbers), draw(st.one_of(quarters.map(str), st.just("offer.level")))
    if draw(st.booleans()):
        left, right = right, left
    return f"{left} {draw(operators)} {right}"


@st.composite
def text_comparisons(draw: st.DrawFn) -> str:
    """A category beside one of its values, or beside the offer's."""
    name, values = draw(categories)
    sides = [name, draw(st.one_of(st.sampled_from(values).map(quoted), st.just("offer.department")))]
    if draw(st.integers(0, 3)) == 0:
        sides = ["offer.department", quoted(draw(st.sampled_from((*DEPARTMENTS, "elsewhere"))))]
    left, right = draw(st.permutations(sides))
    return f"{left} {draw(st.sampled_from(['==', '!=']))} {right}"


@st.composite
def memberships(draw: st.DrawFn) -> str:
    """Something in a list, in a set of the customer, or in a set of the offer."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        name, values = draw(categories)
        return f"{name} in {listed([quoted(v) for v in draw(st.lists(st.sampled_from(values), max_size=3))])}"
    if kind == 1:
        items = draw(st.lists(quarters.map(str), max_size=3))
        return f"{draw(st.one_of(numbers, st.just('offer.level')))} in {listed(items)}"
    if kind == 2:
        return f"{quoted(draw(st.sampled_from(TAGS)))} in customer.tags"
    if kind == 3:
        return "offer.department in customer.tags"
    return f"{quoted(draw(st.sampled_from((*TAGS, 'gold'))))} in offer.audience"


truths = st.sampled_from(
    [
        "customer.member",
        "context.vip",
        "offer.promo",
        "customer.member == true",
        "context.vip != offer.promo",
        "true",
        "false",
        "offer.promo == false",
        "offer.promo == customer.member",
        "customer.member in [true]",
    ]
)
presences = st.sampled_from(
    [
        *(same(f"has(customer.{name})") for name in ("visits", "tier", "tags", "member")),
        *(same(f"has({name})") for name in ("context.hour", "offer.level", "offer.audience", "offer.department")),
        Condition('has(customer.spend["grocery"])', '("grocery" in customer.spend)'),
        Condition(
            "has(customer.spend[offer.department])",
            "(has(offer.department) && offer.department in customer.spend)",
        ),
    ]
)


def _joined(operator: str, parts: Sequence[Condition]) -> Condition:
    word = f" {operator} "
    return Condition(f"({word.join(p.ours for p in parts)})", f"({word.join(p.cel for p in parts)})")


def _negated(part: Condition) -> Condition:
    return Condition(f"!({part.ours})", f"!({part.cel})")


def _extended(part: SearchStrategy[Condition]) -> SearchStrategy[Condition]:
    joined = st.builds(_joined, st.sampled_from(["&&", "||"]), st.lists(part, min_size=2, max_size=3))
    return st.one_of(joined, part.map(_negated))


leaves: SearchStrategy[Condition] = st.one_of(
    st.one_of(number_comparisons(), text_comparisons(), memberships(), truths).map(same), presences
)
conditions = st.recursive(leaves, _extended, max_leaves=8)


def _some(values: Mapping[str, SearchStrategy[Value]]) -> SearchStrategy[dict[str, Value]]:
    """Any selection of these attributes; the others are missing."""
    return st.fixed_dictionaries({}, optional=dict(values))


def _as_set(chosen: list[str]) -> Value:
    return tuple(chosen)


def _subsets(values: Sequence[str]) -> SearchStrategy[Value]:
    return st.lists(st.sampled_from(values), unique=True).map(_as_set)


customers = _some(
    {
        "visits": quarters,
        "score": quarters,
        "tier": st.sampled_from(TIERS),
        "tags": _subsets(TAGS),
        "member": st.booleans(),
        "spend.grocery": quarters,
        "spend.floral": quarters,
    }
)
contexts = _some({"hour": quarters, "device": st.sampled_from(DEVICES), "vip": st.booleans()})
offer_attributes = _some(
    {
        "level": quarters,
        "department": st.sampled_from((*DEPARTMENTS, "vegan", "tools")),
        "promo": st.booleans(),
        "audience": _subsets((*TAGS, "gold")),
    }
)
