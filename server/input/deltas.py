"""Turns the updates of a delta into changes of columns, and applies them to a row."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np

from server.domain.attribute import Attribute, AttributeType, FloatRow, Schema, Value, days_since_epoch
from server.domain.errors import invalid_field
from server.domain.profile import AttributeUpdates

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_LARGEST = float(np.finfo(np.float32).max)


class Operation(Enum):
    """What a change does to its column."""

    SET = auto()
    ADD = auto()
    ADD_MEMBERS = auto()
    REMOVE_MEMBERS = auto()


class Change(NamedTuple):
    """One change to one column of a row."""

    column: int
    operation: Operation
    operand: float


def compile_updates(updates: AttributeUpdates, schema: Schema) -> list[Change]:
    """The changes that the updates mean, in no particular order: each column is changed once.

    Raises:
        OpportuneError: INVALID_FIELD for an unknown attribute, a wrong type, a value out of range, or an attribute that
            is changed in two ways at once. Nothing has been changed then.
    """
    changes: list[Change] = []
    seen: set[str] = set()
    for kind, updates_of_kind in (
        ("set", updates.set),
        ("increment", updates.increment),
        ("append", updates.append),
        ("remove", updates.remove),
    ):
        for name, value in updates_of_kind.items():
            field = f'attributes.{kind}["{name}"]'
            if name in seen:
                raise invalid_field(field, "is changed in two ways at once")
            seen.add(name)
            changes += _COMPILERS[kind](schema, _attribute(name, schema, field), name, value, field)
    return changes


def apply_changes(changes: Iterable[Change], row: FloatRow) -> None:
    """Applies compiled changes to a row in place.

    A missing number counts as 0, a missing set as empty; sums stop at what a float32 holds.
    """
    for column, operation, operand in changes:
        if operation is Operation.SET:
            row[column] = operand
            continue
        before = float(row[column])
        if math.isnan(before):
            before = 0.0
        if operation is Operation.ADD:
            row[column] = min(max(before + operand, -_LARGEST), _LARGEST)
        elif operation is Operation.ADD_MEMBERS:
            row[column] = int(before) | int(operand)
        else:
            row[column] = int(before) & ~int(operand)


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
    if not EARLIEST <= time < LATEST:
        raise invalid_field(field, "is outside the years 1970 to 2200")
    return days_since_epoch(time)


_WANTED = {
    AttributeType.NUMBER: "number",
    AttributeType.BOOLEAN: "truth value",
    AttributeType.CATEGORY: "text",
    AttributeType.SET: "list of texts",
    AttributeType.TIMESTAMP_AGE: "timestamp",
}


def _attribute(name: str, schema: Schema, field: str) -> Attribute:
    column = schema.columns.get(name)
    # A set's further columns have names that only this server knows.
    if column is not None and "#" not in name:
        return schema.attribute_of_column[column]
    attribute = schema.by_id.get(name)
    if attribute is not None and attribute.by is not None:
        raise invalid_field(
            field, f'is keyed; write one cell, for example "{name}.{next(iter(attribute.keys), "key")}"'
        )
    near = get_close_matches(name, schema.by_id, n=1)
    raise invalid_field(field, "is not an attribute of the catalog" + (f"; did you mean {near[0]}?" if near else ""))


def _set(schema: Schema, attribute: Attribute, name: str, value: Value, field: str) -> list[Change]:
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
    names = attribute.column_names() if attribute.type is AttributeType.SET else [name]
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
    if abs(value) > _LARGEST:
        raise invalid_field(field, "does not fit a 32-bit float")
    return float(value)
