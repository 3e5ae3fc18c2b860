"""Strategies for well-typed conditions, as the product writes them and as plain CEL writes them, and for customers.

The two texts differ only where the product goes beyond CEL: `has()` of one cell of a keyed attribute, which CEL says
with `in`, and the time of the decision, which CEL is given as `now`. All numbers that are read are multiples of a
quarter, which float32 holds exactly.

`conditions` compare attributes with values and with the offer's; `rich_conditions` have everything that there is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from server.domain.attribute import Value
from server.domain.contact import ContactKind, ContactScope, HistoryVariable

TIERS = ("basic", "silver", "gold")
TAGS = ("vegan", "parent", "student")
DEPARTMENTS = ("grocery", "floral")
DEVICES = ("phone", "desktop")
WISHES = ("gold", "vegan", "phone")
TACTICS = ("discount", "points")
GROUPS = ("drinks", "snacks")
IDS = ("a", "b")
HISTORY: Mapping[str, HistoryVariable] = {
    "impressions_7d": HistoryVariable(ContactKind.IMPRESSION, 7),
    "decisions_365d": HistoryVariable(ContactKind.DECISION, 365),
    "clicks_1d": HistoryVariable(ContactKind.CLICK, 1),
    "offer_impressions_7d": HistoryVariable(ContactKind.IMPRESSION, 7, ContactScope.OFFER),
    "group_declined_30d": HistoryVariable(ContactKind.DECLINED, 30, ContactScope.EXCLUSION_GROUP),
    "tactic_accepted_14d": HistoryVariable(ContactKind.ACCEPTED, 14, ContactScope.TACTIC),
    "days_since_decision": HistoryVariable(ContactKind.DECISION, None),
    "days_since_offer_click": HistoryVariable(ContactKind.CLICK, None, ContactScope.OFFER),
    "days_since_group_impression": HistoryVariable(ContactKind.IMPRESSION, None, ContactScope.EXCLUSION_GROUP),
    "days_since_tactic_converted": HistoryVariable(ContactKind.CONVERTED, None, ContactScope.TACTIC),
}
"""Names of the history with what they mean, all but the key of the scope."""


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


arithmetic = st.sampled_from(["+", "-", "*", "/"])
history_names = st.sampled_from([f"history.{name}" for name in HISTORY])
all_numbers = st.one_of(numbers, st.just("offer.level"), quarters.map(str), history_names)


def _computed(part: SearchStrategy[str]) -> SearchStrategy[str]:
    joined = st.builds("({} {} {})".format, part, arithmetic, part)
    return st.one_of(joined, joined, part.map("-({})".format))


terms = st.recursive(all_numbers, _computed, max_leaves=4)
durations = st.sampled_from(
    [f'duration("{text}")' for text in ("36h", "-1h30m", "0", "0.5s", "1us", "500ns", "+90m", "1.5h", "1ms", "24h")]
)
stamps = st.sampled_from(
    [
        *(
            "context.time",
            "context.time",
            'timestamp("2026-11-22T12:00:00Z")',
            'timestamp("2026-11-22T13:30:00+02:00")',
        ),
        *('timestamp("2026-11-21T00:00:00.000001Z")', 'timestamp("1969-12-31T23:59:59.5Z")'),
    ]
)


@st.composite
def spans(draw: st.DrawFn) -> str:
    """A length of time."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return f"{draw(moments())} - {draw(stamps)}"
    if kind == 1:
        return f"{draw(durations)} {draw(st.sampled_from('+-'))} {draw(durations)}"
    return draw(durations)


@st.composite
def moments(draw: st.DrawFn) -> str:
    """A point in time."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return f"({draw(stamps)} {draw(st.sampled_from('+-'))} {draw(durations)})"
    if kind == 1:
        return f"({draw(durations)} + {draw(stamps)})"
    return draw(stamps)


@st.composite
def computed_comparisons(draw: st.DrawFn) -> str:
    """Two computed numbers, a computed number in a list, or two times."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return f"{draw(terms)} in {listed(draw(st.lists(quarters.map(str), max_size=3)))}"
    sides = {1: spans(), 2: moments()}.get(kind, terms)
    return f"{draw(sides)} {draw(operators)} {draw(sides)}"


@st.composite
def text_tests(draw: st.DrawFn) -> str:
    """A function of a text; the text may be of anything, the argument of the offer."""
    subjects = ("customer.tier", "customer.wish", "context.device", "offer.department", "offer.id", "offer.tactic")
    subject = draw(st.sampled_from((*subjects, "offer.exclusion_group", '"gold"')))
    function = draw(st.sampled_from(["startsWith", "endsWith", "contains", "matches"]))
    argument = draw(st.one_of(st.just("offer.department"), st.sampled_from(PATTERNS).map(quoted)))
    return f"{subject}.{function}({argument})"


PATTERNS = ("", "g", "o", "ld", "gold", "e", "x", "^g", "d$", "o.d", "[aeiou]s", "a|b", "(?i)GOLD", "l+o*", "tr?o")
pairs = st.sampled_from(
    [
        *("customer.tier == customer.wish", "customer.wish != customer.tier", "context.device == customer.wish"),
        *("customer.member == context.vip", "context.vip != customer.member", "customer.visits < customer.score"),
        *("customer.score >= context.hour", "customer.visits == customer.score", "customer.tier == customer.tier"),
        *('offer.tactic == "points"', 'offer.exclusion_group != "drinks"', 'offer.id in ["a", "c"]'),
        *("offer.tactic != offer.department", "customer.wish == offer.department", "customer.wish in offer.audience"),
    ]
)
rich_presences = st.sampled_from(
    ["has(context.time)", *(f"has(history.{name})" for name in HISTORY), "has(offer.exclusion_group)", "has(offer.id)"]
)


_NUMBER = re.compile(r"customer\.(visits|score|spend\[[^]]*\])|context\.hour|offer\.level|history\.\w+")


def in_cel(text: str) -> Condition:
    """A condition with the time as CEL is given it, and with computed numbers that CEL is told are doubles."""
    if any(f" {operator} " in text for operator in "+-*/") or "-(" in text:
        return Condition(text, _NUMBER.sub(r"double(\g<0>)", text).replace("context.time", "now"))
    return Condition(text, text.replace("has(context.time)", "true").replace("context.time", "now"))


rich_leaves: SearchStrategy[Condition] = st.one_of(
    computed_comparisons().map(in_cel),
    computed_comparisons().map(in_cel),
    st.one_of(text_tests(), pairs, rich_presences).map(in_cel),
    leaves,
)
rich_conditions = st.recursive(rich_leaves, _extended, max_leaves=6)


offer_terms = st.recursive(st.one_of(st.just("offer.level"), quarters.map(str)), _computed, max_leaves=4)
offer_texts = st.sampled_from(["offer.department", "offer.id", "offer.tactic", "offer.exclusion_group"])
offer_leaves = st.one_of(
    st.builds("{} {} {}".format, offer_terms, operators, offer_terms),
    st.builds("{} in {}".format, offer_terms, st.lists(quarters.map(str), max_size=3).map(listed)),
    st.builds("{} {} {}".format, offer_texts, st.sampled_from(["==", "!="]), offer_texts),
    st.builds(
        "{}.{}({})".format,
        offer_texts,
        st.sampled_from(["startsWith", "endsWith", "contains", "matches"]),
        st.sampled_from(PATTERNS).map(quoted),
    ),
    st.sampled_from(["has(offer.level)", "has(offer.exclusion_group)", "offer.promo", '"vegan" in offer.audience']),
)
offer_conditions = st.recursive(offer_leaves.map(in_cel), _extended, max_leaves=6)


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
