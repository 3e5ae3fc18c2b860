"""What was known: the values of the attributes that a condition reads, in words, for those who may read a decision."""

import math
import re
from collections.abc import Iterator

from server.domain.attribute import MEMBERS_PER_COLUMN, Attribute, AttributeType, FloatRow, Schema
from server.domain.offer import Offer
from server.domain.offer_table import values_of
from server.execution.compiled import CompiledCatalog

_NAME = re.compile(r"""\b(customer|context)\.([A-Za-z_]\w*)(?:\[\s*(?:offer\.(\w+)|["']([^"']*)["'])\s*\])?""")


def known(catalog: CompiledCatalog, text: str, variables: FloatRow, offer: Offer) -> str:
    """The values of what a condition reads of customer and context, for example `customer.visits was 3`."""
    return "; ".join(dict.fromkeys(_each(catalog, text, variables, offer)))


def _each(catalog: CompiledCatalog, text: str, variables: FloatRow, offer: Offer) -> Iterator[str]:
    schemas = {"customer": (catalog.customer, 0), "context": (catalog.context, catalog.customer.width)}
    for match in _NAME.finditer(_without_texts(text)):
        root, name, by, key = match.groups()
        schema, first = schemas[root]
        attribute = schema.by_id.get(name)
        if attribute is None:
            continue
        if by is not None:
            key = values_of(offer).get(by)
        written = f"{root}.{name}" if key is None else f"{root}.{name}[{_plain(key)}]"
        yield f"{written} {_words(attribute, schema, None if key is None else _plain(key), variables[first:])}"


def _without_texts(text: str) -> str:
    """The condition without its text literals, which may look like names; those that are keys stay."""
    return re.sub(r"""(?<!\[)(["'])(?:\\.|(?!\1).)*\1(?!\])""", "''", text)


def _words(attribute: Attribute, schema: Schema, key: str | None, variables: FloatRow) -> str:
    column = schema.columns.get(attribute.id if key is None else f"{attribute.id}.{key}")
    if column is None or math.isnan(variables[column]):
        return "was not known"
    value = float(variables[column])
    match attribute.type:
        case AttributeType.BOOLEAN:
            words = "true" if value else "false"
        case AttributeType.CATEGORY:
            words = f'"{attribute.values[int(value)]}"'
        case AttributeType.SET:
            words = f"[{', '.join(_members(attribute, column, variables))}]"
        case AttributeType.TIMESTAMP_AGE:
            words = f"{_age(value)} ago"
        case AttributeType.KEY:
            words = "known"
        case _:
            words = f"{value:g}"
    return f"was {words}"


def _members(attribute: Attribute, column: int, variables: FloatRow) -> Iterator[str]:
    for place, member in enumerate(attribute.values):
        word, bit = divmod(place, MEMBERS_PER_COLUMN)
        if int(variables[column + word]) >> bit & 1:
            yield f'"{member}"'


def _age(days: float) -> str:
    return f"{days:.3g} days" if abs(days) >= 1 else f"{days * 24:.3g} hours"


def _plain(key: object) -> str:
    return f"{key:.15g}" if isinstance(key, float) else str(key)
