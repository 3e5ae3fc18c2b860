"""The whole decision once more, slowly: conditions by walking their trees, ranking by sorting, offers one by one.

It shares with the server the syntax tree of a condition and the types of the domain, and nothing else.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from server.domain.attribute import Value
from server.domain.condition import Comparison, Expression, Has, Items, Literal, Logic, Name, Not
from server.domain.offer import Offer
from server.intelligence.conditions.parser import parse

Data = Mapping[str, Mapping[str, Value]]
"""The attributes of customer, context and offer, cells of keyed attributes as `attribute.key`."""

Truth = bool | None
"""None is CEL's error."""


@dataclass(frozen=True)
class Question:
    """What is asked, in the reference's own words."""

    data: Data
    channel: str
    locale: str
    now: datetime
    candidates: frozenset[str]
    filter: str
    count: int
    order_by: str
    seed: int


@dataclass(frozen=True)
class Shown:
    """One offer of the answer."""

    offer_id: str
    creative_id: str
    propensity: float
    expected_value: float


def decide_slowly(offers: Iterable[Offer], question: Question, has_model: bool) -> list[Shown]:
    """The offers to show, best first."""
    allowed = [offer for offer in offers if is_allowed(offer, question)]
    scored = [(offer, propensity(offer) if has_model else 0.0) for offer in allowed]
    scored.sort(key=lambda pair: sort_key(pair[0], pair[1], question, has_model))
    shown = []
    for offer, chance in scored[: question.count]:
        creative = offer.creative_for(question.channel, question.locale)
        assert creative is not None
        shown.append(Shown(offer.id, creative.id, chance, chance * offer.value.profit))
    return shown


def is_allowed(offer: Offer, question: Question) -> bool:
    """Whether an offer may be shown at all."""
    data = {**question.data, "offer": offer.attributes}
    return (
        (offer.start is None or offer.start <= question.now)
        and (offer.end is None or question.now < offer.end)
        and offer.creative_for(question.channel, question.locale) is not None
        and (not question.candidates or offer.id in question.candidates)
        and (not question.filter or truth(parse(question.filter), data) is True)
        and (not offer.eligible or truth(parse(offer.eligible), data) is True)
    )


def propensity(offer: Offer) -> float:
    """What the model of these tests says: the offer's attribute `appeal` as log-odds."""
    appeal = offer.attributes["appeal"]
    assert isinstance(appeal, float)
    return 1 / (1 + math.exp(-appeal))


def sort_key(offer: Offer, chance: float, question: Question, has_model: bool) -> tuple[float, int]:
    """Sorts the best offer first, ties by the hash of the id as the decision's seed shuffles it."""
    field, _, direction = question.order_by.partition(" ")
    number: Value | None
    if field == "offer.level":
        number = offer.attributes.get("level")
    elif field == "value" or (not has_model and field in ("", "expected_value")):
        number = offer.value.profit
    elif field == "propensity":
        number = chance
    else:
        number = chance * offer.value.profit
    descending = not field or direction == "desc"
    assert number is None or isinstance(number, float)
    key = math.inf if number is None else (-number if descending else number)
    base = int.from_bytes(blake2b(offer.id.encode(), digest_size=8).digest(), "big")
    return key, base * splitmix(question.seed) % 2**64


def splitmix(seed: int) -> int:
    """The finisher of splitmix64 (Steele, Lea and Flood, 2014), made odd."""
    mixed = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) % 2**64
    return (mixed ^ mixed >> 31) | 1


def truth(node: Expression, data: Data) -> Truth:  # noqa: PLR0911 - one for each kind of node
    """CEL's three outcomes of a condition."""
    match node:
        case Logic(operator=operator, operands=operands):
            outcomes = [truth(operand, data) for operand in operands]
            decisive = operator == "||"
            if decisive in outcomes:
                return decisive
            return None if None in outcomes else not decisive
        case Not(operand=operand):
            outcome = truth(operand, data)
            return None if outcome is None else not outcome
        case Has(name=name):
            return value(name, data) is not None
        case Comparison(operator="in", left=left, right=right):
            return membership(value(left, data), right, data)
        case Comparison(operator=operator, left=left, right=right):
            return comparison(operator, value(left, data), value(right, data))
    found = value(node, data)
    assert found is None or isinstance(found, bool)
    return found


def membership(member: Value | None, right: Expression, data: Data) -> Truth:
    """Whether something is in a list or set."""
    if isinstance(right, Items):
        return None if member is None else member in [item.value for item in right.items]
    members = value(right, data)
    if member is None or members is None:
        return None
    assert isinstance(members, tuple)
    return member in members


def comparison(operator: str, left: Value | None, right: Value | None) -> Truth:
    """Whether two values compare so."""
    if left is None or right is None:
        return None
    if operator in ("==", "!="):
        return (left == right) is (operator == "==")
    assert isinstance(left, float)
    assert isinstance(right, float)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def value(node: Expression, data: Data) -> Value | None:
    """The value of a literal or name; None if it is missing."""
    if isinstance(node, Literal):
        return node.value
    assert isinstance(node, Name)
    if node.key is None:
        return data[node.root].get(node.attribute)
    key = value(node.key, data)
    return None if key is None else data[node.root].get(f"{node.attribute}.{key}")
