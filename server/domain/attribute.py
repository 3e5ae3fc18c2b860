"""Attributes of customers, contexts and offers, and the schema that lays them out as float32 columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from server.domain.aggregate import Aggregate, Operation

Value = float | str | bool | datetime | tuple[str, ...]
"""One typed value: a number, a text, a truth value, a point in time with time zone, or several texts."""

FloatRow = NDArray[np.float32]
IntRow = NDArray[np.intp]
BoolRow = NDArray[np.bool_]

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that a row holds; sums stop there."""

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
"""Timestamps are kept as days since then, so that a float32 tells seconds apart for decades around now."""

MEMBERS_PER_COLUMN = 24
"""How many members of a set fit in one float32 column, which holds integers exactly up to 2**24."""


KEY_COLUMNS = 3
"""How many float32 columns hold the hash of a key, 24 bits each."""


def days_since_epoch(time: datetime) -> float:
    """Days from `EPOCH` to a time, negative before it."""
    return (time - EPOCH).total_seconds() / 86_400


class AttributeType(StrEnum):
    """What kind of value an attribute takes.

    A text identifies a person: it is kept in the vault and never in a row. A key is a text that many customers may
    share, such as a household: a row holds a hash of it.
    """

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    SET = "set"
    TIMESTAMP_AGE = "timestamp_age"
    TEXT = "text"
    KEY = "key"


class MergeRule(StrEnum):
    """What a customer with several identifiers has, of what each identifier has."""

    LATEST = "latest"
    MAX = "max"
    SUM = "sum"
    UNION = "union"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One declared attribute.

    `values` are the members of a category or set, in the order of their codes. With `by` the attribute is keyed:
    it has one value for each of `keys`, for example a spend for each department. With `purpose` it may only be
    read of customers who granted that purpose. With `aggregate` it is kept up to date from events, and by nothing else.
    """

    id: str
    type: AttributeType
    values: tuple[str, ...] = ()
    by: str | None = None
    keys: tuple[str, ...] = ()
    purpose: str | None = None
    merge: MergeRule = MergeRule.LATEST
    aggregate: Aggregate | None = None

    def column_names(self) -> list[str]:
        """The names of the attribute's columns: one, one for each key, or one for each 24 members of a set.

        A text has none. A decayed sum has one more, for the time that its sums stand for.
        """
        if self.type is AttributeType.TEXT:
            return []
        decays = self.aggregate is not None and self.aggregate.operation is Operation.DECAYED_SUM
        return self._value_columns() + [f"{self.id}#time"] * decays

    def _value_columns(self) -> list[str]:
        if self.by is not None:
            return [f"{self.id}.{key}" for key in self.keys]
        if self.type in (AttributeType.SET, AttributeType.KEY):
            words = KEY_COLUMNS if self.type is AttributeType.KEY else -(-len(self.values) // MEMBERS_PER_COLUMN)
            return [self.id, *(f"{self.id}#{word}" for word in range(1, words))]
        return [self.id]


@dataclass(frozen=True)
class Schema:
    """Which column of a float32 row holds which attribute. Missing is NaN.

    `consents` are purposes that customers answer although no attribute asks for them.

    Numbers are themselves, truth values 0 or 1, categories the index in `values`, timestamps days since 2020, and
    sets integers with a bit for each member.
    """

    attributes: tuple[Attribute, ...] = ()
    consents: tuple[str, ...] = ()
    by_id: Mapping[str, Attribute] = field(init=False)
    columns: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        # What deltas may set comes first, so that event times are kept for those columns and no others.
        ordered = tuple(sorted(self.attributes, key=lambda attribute: attribute.aggregate is not None))
        object.__setattr__(self, "attributes", ordered)
        names = [name for attribute in self.attributes for name in attribute.column_names()]
        object.__setattr__(self, "by_id", {attribute.id: attribute for attribute in self.attributes})
        object.__setattr__(self, "columns", {name: column for column, name in enumerate(names)})

    @property
    def width(self) -> int:
        """How many columns a row has."""
        return len(self.columns)

    @cached_property
    def settable_width(self) -> int:
        """How many columns deltas may set: the first so many."""
        return sum(len(attribute.column_names()) for attribute in self.attributes if attribute.aggregate is None)

    @cached_property
    def texts(self) -> frozenset[str]:
        """The attributes that are identifying text."""
        return frozenset(attribute.id for attribute in self.attributes if attribute.type is AttributeType.TEXT)

    @cached_property
    def plain(self) -> Mapping[str, tuple[int, AttributeType, Mapping[str, int]]]:
        """For each name of one column that deltas may set as a whole: its column, type and codes."""
        return {
            name: (column, attribute.type, self.codes[attribute.id])
            for name, column in self.columns.items()
            if (attribute := self.attribute_of_column[column]).aggregate is None
            and attribute.type not in (AttributeType.SET, AttributeType.KEY)
        }

    @cached_property
    def attribute_of_column(self) -> tuple[Attribute, ...]:
        """The attribute of each column."""
        return tuple(attribute for attribute in self.attributes for _ in attribute.column_names())

    @cached_property
    def age_columns(self) -> IntRow:
        """The columns that hold timestamps and are read as ages."""
        return self._where(attribute.type is AttributeType.TIMESTAMP_AGE for attribute in self.attribute_of_column)

    @cached_property
    def purposes(self) -> tuple[str, ...]:
        """Every purpose that somebody asks for, sorted; the position is the purpose's consent bit."""
        return tuple(
            sorted({attribute.purpose for attribute in self.attributes if attribute.purpose} | {*self.consents})
        )

    def columns_without(self, granted: frozenset[str]) -> IntRow:
        """The columns that may not be read of a customer who granted only these purposes."""
        return self._where(
            attribute.purpose is not None and attribute.purpose not in granted for attribute in self.attribute_of_column
        )

    @cached_property
    def codes(self) -> Mapping[str, Mapping[str, int]]:
        """For each category or set, the code of each of its values."""
        return {
            attribute.id: {value: code for code, value in enumerate(attribute.values)} for attribute in self.attributes
        }

    def member(self, attribute: Attribute, value: str) -> tuple[int, int]:
        """The column and the bit of a member of a set attribute.

        Raises:
            KeyError: the set does not declare the value.
        """
        word, bit = divmod(self.codes[attribute.id][value], MEMBERS_PER_COLUMN)
        return self.columns[attribute.column_names()[word]], 1 << bit

    @staticmethod
    def _where(flags: Iterable[bool]) -> IntRow:
        return np.flatnonzero(np.fromiter(flags, np.bool_)).astype(np.intp)
