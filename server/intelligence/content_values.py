"""What tokens are filled with: constants of the offer, and cells that are read from the vector of variables.

Sketch: a cell is one element of a float32 vector and one short text, 0.2 to 0.6 us. Numbers, ages and truth values are
written with digits and letters that mean nothing on any channel; only texts are escaped.
"""

from decimal import Decimal
from math import isfinite
from typing import NamedTuple

from server.domain.attribute import MEMBERS_PER_COLUMN, FloatRow, Value
from server.domain.content import MAX_VALUE_CHARACTERS, ChannelKind, written

_SEPARATOR = ", "
_EXACT = 2.0**24
_TRUTH = ("false", "true")


class NumberCell(NamedTuple):
    """A number; `format` is one of Python's, or empty."""

    column: int
    default: str
    format: str

    def read(self, variables: FloatRow) -> str:
        """The number, or the default where it is missing."""
        value = variables.item(self.column)
        if not isfinite(value):
            return self.default
        if -_EXACT < value < _EXACT and value.is_integer():
            # Has no noise to take away, and is what counts and ages mostly are.
            return format(int(value), self.format)
        # As a text a float32 has the fewest digits that tell it from its neighbours: 12.4 and not 12.3999996.
        text = str(variables[self.column])
        return format(float(text), self.format) if self.format else _positional(text)


class AgeCell(NamedTuple):
    """A timestamp, which variables hold as its age in days."""

    column: int
    default: str

    def read(self, variables: FloatRow) -> str:
        """The days that are over, or the default where the time is missing."""
        value = variables.item(self.column)
        return str(int(value)) if isfinite(value) else self.default


class TruthCell(NamedTuple):
    """A truth value."""

    column: int
    default: str

    def read(self, variables: FloatRow) -> str:
        """`true` or `false`, or the default where it is missing."""
        value = variables.item(self.column)
        return _TRUTH[value != 0] if isfinite(value) else self.default


class CategoryCell(NamedTuple):
    """One of an attribute's values; `values` is the attribute's own tuple, which all cells share."""

    column: int
    default: str
    values: tuple[str, ...]
    kind: ChannelKind

    def read(self, variables: FloatRow) -> str:
        """The value, or the default where it is missing or nothing of it can be shown."""
        value = variables.item(self.column)
        return (written(self.values[int(value)], self.kind) if isfinite(value) else "") or self.default


class MembersCell(NamedTuple):
    """A set: `columns` hold its members as bits, 24 each."""

    columns: tuple[int, ...]
    default: str
    values: tuple[str, ...]
    kind: ChannelKind

    def read(self, variables: FloatRow) -> str:
        """The members in the order in which they are declared, or the default where there are none to show."""
        members: list[str] = []
        for place, column in enumerate(self.columns):
            word = variables.item(column)
            if isfinite(word) and word and len(members) < MAX_VALUE_CHARACTERS:
                first = place * MEMBERS_PER_COLUMN
                members += _members(int(word), self.values[first : first + MEMBERS_PER_COLUMN])
        return written(_SEPARATOR.join(members), self.kind) or self.default


Cell = NumberCell | AgeCell | TruthCell | CategoryCell | MembersCell


def constant_text(value: Value, format_: str, kind: ChannelKind) -> str:
    """A value that is known when the catalog is compiled; empty for one that has no text.

    Args:
        format_: One of Python's formats for a number, or empty.
    """
    match value:
        case bool():
            return _TRUTH[value]
        case int() | float():
            return format(value, format_) if format_ else _positional(format(value, "z.15g"))
        case str():
            return written(value, kind)
        case tuple():
            return written(_SEPARATOR.join(value), kind)
    return ""


def _positional(number: str) -> str:
    """A number without exponent, and without zeros behind the point."""
    text = format(Decimal(number), "f") if "e" in number else number
    return text.removesuffix(".0")


def _members(word: int, values: tuple[str, ...]) -> list[str]:
    return [value for bit, value in enumerate(values) if word >> bit & 1]
