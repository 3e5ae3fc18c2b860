"""Content in a few words: what a text says to a customer, and what is wrong with it."""

from collections.abc import Mapping

from server.domain.attribute import FloatRow, Value
from server.domain.content import ChannelKind
from server.domain.offer_table import infer_schema
from server.intelligence.content import CompiledContent, ContentNames, compile_content
from tests.support.catalogs import (
    boolean,
    category,
    count,
    keyed,
    last,
    number,
    offer,
    schema,
    text,
    text_set,
    timestamp,
)
from tests.support.conditions import CONTEXT, variables

MANY = tuple(f"m{place}" for place in range(60))
CUSTOMER = schema(
    number("visits"),
    number("income"),
    category("tier", "basic", "silver", "R&D <b>"),
    text_set("tags", "vegan", "parent", "student"),
    text_set("many", *MANY),
    boolean("member"),
    keyed("spend", "department", "grocery", "floral", "a | b"),
    timestamp("last_visit"),
    count("orders", "order"),
    last("last_order", "order"),
    text("first_name"),
    text("last_name"),
)
OTHER_OFFER = offer(
    "other", attributes={"level": 0.1, "promo": True, "for": ("x",), "department": "tools", "name": "n"}
)
"""Has every attribute that offers have in these tests, so that each is known where an offer lacks it."""

ATTRIBUTES: Mapping[str, Value] = {"level": 0.2, "department": "grocery", "promo": False, "for": ("vegan", "gold")}


def compiled(
    text: str, kind: ChannelKind = ChannelKind.TEXT, attributes: Mapping[str, Value] = ATTRIBUTES
) -> tuple[CompiledContent, list[str]]:
    """The content with this title in an offer with these attributes, and its problems in words."""
    one = offer("one", attributes=attributes)
    names = ContentNames(CUSTOMER, CONTEXT, infer_schema([one, OTHER_OFFER])[0], lambda name: name != "income")
    content, problems = compile_content({"title": text}, one, kind, names)
    return content, [str(problem) for problem in problems]


def problems_of(text: str, attributes: Mapping[str, Value] = ATTRIBUTES) -> list[str]:
    """What is wrong with a text."""
    return compiled(text, attributes=attributes)[1]


def row(customer: Mapping[str, Value] | None = None, context: Mapping[str, Value] | None = None) -> FloatRow:
    """The variables of a customer with these attributes in this context."""
    return variables(customer or {}, context or {}, CUSTOMER)


def says(
    text: str,
    customer: Mapping[str, Value] | None = None,
    *,
    context: Mapping[str, Value] | None = None,
    texts: Mapping[str, str] | None = None,
    attributes: Mapping[str, Value] = ATTRIBUTES,
    kind: ChannelKind = ChannelKind.TEXT,
) -> str:
    """What a text without problems says to a customer."""
    content, problems = compiled(text, kind, attributes)
    assert not problems, problems
    return content.fill(row(customer, context)).with_texts(texts or {})["title"]
