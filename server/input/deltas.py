"""Turns the updates of a delta into changes of columns."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from server.domain.attribute import LARGEST, Attribute, AttributeType, Schema, Value, days_since_epoch
from server.domain.clock import LATEST_US, microseconds_of
from server.domain.errors import invalid_field
from server.domain.identifier import shown_name
from server.domain.profile import AttributeUpdates
from server.input.change import Change, Operation
from server.input.keys import key_words

MAX_NAME = 256


def compile_updates(updates: AttributeUpdates, schema: Schema) -> list[Change]:
    """The changes that the updates mean, in no particular order: each column is changed once.

    Raises:
        OpportuneError: INVALID_FIELD for an unknown attribute, a wrong type, a value out of range, or an attribute that
            is changed in two ways at once. Nothing has been changed then.
    """
    changes: list[Change] = []
    plain = schema.plain
    seen = set(updates.set)
    for name, value in updates.set.items():
        slot = plain.get(name)
        # What is plainly right is taken as it is; everything else goes the thorough way.
        if slot is not None:
            column, type_, codes = slot
            if type_ is AttributeType.NUMBER and type(value) is float and -1e30 < value < 1e30:
                changes.append(Change(column, Operation.SET, value))
                continue
            if type_ is AttributeType.CATEGORY and type(value) is str and value in codes:
                changes.append(Change(column, Operation.SET, codes[value]))
                continue
        changes += _thorough(schema, "set", name, value)
    if not (updates.increment or updates.append or updates.remove):
        return changes
    for kind, updates_of_kind in _others(updates):
        for name, operand in updates_of_kind.items():
            if name in seen:
                raise invalid_field(_field(kind, name), "is changed in two ways at once")
            seen.add(name)
            changes += _thorough(schema, kind, name, operand)
    return changes


def _others(updates: AttributeUpdates) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (("increment", updates.increment), ("append", updates.append), ("remove", updates.remove))


def _thorough(schema: Schema, kind: str, name: str, value: Any) -> list[Change]:
    if len(name) > MAX_NAME:
        raise invalid_field(_field(kind, name), f"has a name of more than {MAX_NAME} characters")
    field = _field(kind, name)
    return _COMPILERS[kind](schema, _attribute(name, schema, field), name, value, field)


def _field(kind: str, name: str) -> str:
    return f'attributes.{kind}["{shown_name(name)}"]'


def column_value(attribute: Attribute, value: Value, schema: Schema, field: str) -> float:
    """The float32 that stands for one value of an attribute that takes one column.

    Raises:
        OpportuneError: INVALID_FIELD for a wrong type or a value that is not declared or out of range.
    """
    match attribute.type, value:
        case AttributeType.BOOLEAN, bool():
            return float(value)
        case AttributeType.NUMBER, int() | float() if not isinstance(value, bool):
            return _finite(value, field)
        case AttributeType.CATEGORY, str():
            code = schema.codes[attribute.id].get(value)
            if code is None:
                raise invalid_field(field, f"is none of the {len(attribute.values)} declared values")
            return float(code)
        case AttributeType.TIMESTAMP_AGE, datetime():
            return days_of(value, field)
    raise invalid_field(field, f"takes a {_WANTED[attribute.type]}")


def days_of(time: datetime, field: str) -> float:
    """Days since 2020 of a time in the years 1970 to 2200, or INVALID_FIELD."""
    if not 0 <= microseconds_of(time) < LATEST_US:
        raise invalid_field(field, "is outside the years 1970 to 2200")
    return days_since_epoch(time)


_WANTED = {
    AttributeType.NUMBER: "number",
    AttributeType.BOOLEAN: "truth value",
    AttributeType.CATEGORY: "text",
    AttributeType.SET: "list of texts",
    AttributeType.TIMESTAMP_AGE: "timestamp",
    AttributeType.TEXT: "text",
    AttributeType.KEY: "text",
}


def _attribute(name: str, schema: Schema, field: str) -> Attribute:
    column = schema.columns.get(name)
    attribute = schema.by_id.get(name)
    # Further columns of a set or a decayed sum have names that only this server knows.
    if column is not None and "#" not in name:
        attribute = schema.attribute_of_column[column]
        if attribute.aggregate is not None:
            raise invalid_field(field, "is an aggregate: it is kept up to date from events")
        return attribute
    if attribute is not None and attribute.type is AttributeType.TEXT:
        return attribute
    if attribute is not None and attribute.by is not None:
        raise invalid_field(
            field, f'is keyed; write one cell, for example "{name}.{next(iter(attribute.keys), "key")}"'
        )
    near = get_close_matches(name, schema.by_id, n=1)
    raise invalid_field(field, "is not an attribute of the catalog" + (f"; did you mean {near[0]}?" if near else ""))


def _set(schema: Schema, attribute: Attribute, name: str, value: Value, field: str) -> list[Change]:
    if attribute.type is AttributeType.TEXT:
        if not isinstance(value, str):
            raise invalid_field(field, "takes a text")
        # It goes to the vault; there is nothing of it in a row.
        return []
    if attribute.type is AttributeType.KEY:
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME:
            raise invalid_field(field, f"takes a text of 1 to {MAX_NAME} characters")
        columns = [schema.columns[column] for column in attribute.column_names()]
        return [Change(column, Operation.SET, word) for column, word in zip(columns, key_words(value), strict=True)]
    if attribute.type is not AttributeType.SET:
        return [Change(schema.columns[name], Operation.SET, column_value(attribute, value, schema, field))]
    if not isinstance(value, tuple):
        raise invalid_field(field, "takes a list of texts")
    words = _all_words(schema, attribute) | _members(schema, attribute, value, field)
    return [Change(column, Operation.SET, bits) for column, bits in words.items()]


def _increment(schema: Schema, attribute: Attribute, name: str, amount: float, field: str) -> list[Change]:
    if attribute.type is not AttributeType.NUMBER:
        raise invalid_field(field, f"only numbers are incremented, and this is a {attribute.type}")
    return [Change(schema.columns[name], Operation.ADD, _finite(amount, field))]


def _append(schema: Schema, attribute: Attribute, name: str, members: tuple[str, ...], field: str) -> list[Change]:
    words = _all_words(schema, attribute) | _members(schema, attribute, members, field)
    return [Change(column, Operation.ADD_MEMBERS, bits) for column, bits in words.items()]


def _remove(schema: Schema, attribute: Attribute, name: str, members: tuple[str, ...], field: str) -> list[Change]:
    if members:
        words = _all_words(schema, attribute) | _members(schema, attribute, members, field)
        return [Change(column, Operation.REMOVE_MEMBERS, bits) for column, bits in words.items()]
    if attribute.type is AttributeType.TEXT:
        return []
    names = attribute.column_names() if attribute.type in (AttributeType.SET, AttributeType.KEY) else [name]
    return [Change(schema.columns[column], Operation.SET, math.nan) for column in names]


def _all_words(schema: Schema, attribute: Attribute) -> dict[int, int]:
    """No member in any of the set's columns: a set that is present is present in all of them."""
    if attribute.type is not AttributeType.SET:
        return {}
    return dict.fromkeys((schema.columns[column] for column in attribute.column_names()), 0)


def _members(schema: Schema, attribute: Attribute, members: tuple[str, ...], field: str) -> dict[int, int]:
    if attribute.type is not AttributeType.SET:
        raise invalid_field(field, f"only sets have members, and this is a {attribute.type}")
    words: dict[int, int] = {}
    for place, member in enumerate(members):
        if member not in schema.codes[attribute.id]:
            raise invalid_field(f"{field}[{place}]", f"is none of the {len(attribute.values)} declared values")
        column, bit = schema.member(attribute, member)
        words[column] = words.get(column, 0) | bit
    return words


_COMPILERS: Mapping[str, Callable[[Schema, Attribute, str, Any, str], list[Change]]] = {
    "set": _set,
    "increment": _increment,
    "append": _append,
    "remove": _remove,
}


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise invalid_field(field, "must be finite")
    if abs(value) > LARGEST:
        raise invalid_field(field, "does not fit a 32-bit float")
    return float(value)
