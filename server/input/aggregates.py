"""Aggregates in rows: what an event changes, and what they are worth at a moment.

Counts, sums and last times are plain columns. A sliding window is made of day buckets, and summed up when it is read. A
decayed sum is kept as what it was worth at a landmark, a whole number of half-lives since 2020 (forward decay: Cormode,
Shkapenyuk, Srivastava and Xu, ICDE 2009): moving the landmark multiplies by a power of two, which loses nothing, so the
order of events does not matter.
"""

import math
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.aggregate import Aggregate
from server.domain.aggregate import Operation as Aggregation
from server.domain.attribute import LARGEST, Attribute, FloatRow, IntRow, Schema, Value
from server.domain.clock import days_of
from server.domain.errors import invalid_field
from server.domain.profile import Event
from server.input.change import Change, Operation
from server.input.day_buckets import Amounts, Keys, columns_of_keys, days_of_keys
from server.input.deltas import MAX_NAME

MAX_PROPERTIES = 64
_MAX_EXPONENT = 120.0


class DecayedSum(NamedTuple):
    """The columns of one decayed sum, the column of its landmark, and its half-life in days."""

    columns: IntRow
    landmark: int
    half_life_days: float


class Aggregates:
    """The aggregates of a schema. Immutable once made.

    Attributes:
        blank: A row without any event or attribute: 0 for what counts or sums, else NaN; float32 [columns].
        windows: int64 [columns], how many days each column's window has, 0 for other columns.
        decayed: The decayed sums.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        kept = [attribute for attribute in schema.attributes if attribute.aggregate is not None]
        self._by_event: dict[str, list[tuple[Attribute, Aggregate, int]]] = {}
        self.blank: FloatRow = np.full(schema.width, np.nan, np.float32)
        self.windows = np.zeros(max(schema.width, 1), np.int64)
        self.decayed: list[DecayedSum] = []
        for attribute in kept:
            self._add(attribute)
        self._windowed: IntRow = np.flatnonzero(self.windows).astype(np.intp)
        self._decayed_columns = _joined([decayed.columns for decayed in self.decayed])
        sizes = [len(decayed.columns) for decayed in self.decayed]
        self._landmarks = np.repeat(np.array([d.landmark for d in self.decayed], np.intp), sizes)
        self._rates = np.repeat(np.array([1 / d.half_life_days for d in self.decayed]), sizes)

    @property
    def events(self) -> Collection[str]:
        """The types of the events that any aggregate takes."""
        return self._by_event

    def compile(self, event: Event, time_us: int) -> list[Change]:
        """What an event changes.

        Raises:
            OpportuneError: INVALID_FIELD if no aggregate takes its type, or for a property that one needs.
        """
        if len(event.properties) > MAX_PROPERTIES:
            raise invalid_field("event.properties", f"has more than {MAX_PROPERTIES} entries")
        plans = self._by_event.get(event.type)
        if plans is None and len(event.type) > MAX_NAME:
            raise invalid_field("event.type", f"has more than {MAX_NAME} characters")
        if plans is None:
            near = get_close_matches(event.type, self._by_event, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise invalid_field("event.type", f"no aggregate of the catalog takes events of this type{hint}")
        return [change for plan in plans for change in self._changes(*plan, event, time_us)]

    def read(self, variables: FloatRow, buckets: tuple[Keys, Amounts] | None, now_days: float) -> None:
        """Puts in place what windows and decayed sums are worth at a time in days since 2020."""
        if buckets is not None:
            keys, amounts = buckets
            columns, days, today = columns_of_keys(keys), days_of_keys(keys), math.floor(now_days)
            counts = (days <= today) & (days > today - self.windows[columns])
            totals = np.bincount(columns[counts], amounts[counts], len(self.windows))[self._windowed]
            variables[self._windowed] = within_float32(totals)
        if len(self._decayed_columns):
            variables[self._decayed_columns] = decayed(
                variables[self._decayed_columns], variables[self._landmarks], now_days * self._rates
            )

    def apply_decay(self, change: Change, values: FloatRow, time_us: int) -> None:
        """Adds an amount to a decayed sum of a row."""
        columns, landmark, half_life_days = self.decayed[change.aggregate]
        half_lives = days_of(time_us) / half_life_days
        before, now = float(values[landmark]), float(math.floor(half_lives))
        if math.isnan(before):
            values[landmark] = before = now
        elif now > before:
            values[columns] *= np.float32(2.0 ** max(before - now, -200.0))
            values[landmark] = before = now
        total = float(values[change.column]) + change.operand * 2.0 ** max(half_lives - before, -200.0)
        values[change.column] = min(max(total, -LARGEST), LARGEST)

    def _add(self, attribute: Attribute) -> None:
        aggregate = attribute.aggregate
        assert aggregate is not None
        names = attribute.column_names()
        columns = np.array([self._schema.columns[name] for name in names], np.intp)
        decayed = -1
        if aggregate.operation is Aggregation.DECAYED_SUM:
            decayed = len(self.decayed)
            self.decayed.append(DecayedSum(columns[:-1], int(columns[-1]), aggregate.half_life_days))
            columns = columns[:-1]
        if aggregate.operation is not Aggregation.LAST:
            self.blank[columns] = 0
        self.windows[columns] = aggregate.window_days
        self._by_event.setdefault(aggregate.event, []).append((attribute, aggregate, decayed))

    def _changes(
        self, attribute: Attribute, aggregate: Aggregate, decayed: int, event: Event, time_us: int
    ) -> Iterator[Change]:
        amount = _amount(aggregate, event)
        column = self._column(attribute, event)
        # A key that no offer has, say a new department, has no cell, and nobody asks for it.
        if column is None:
            return
        if aggregate.operation is Aggregation.LAST:
            yield Change(column, Operation.LATEST, days_of(time_us))
        elif decayed >= 0:
            yield Change(column, Operation.DECAY, amount, decayed)
        elif aggregate.window_days:
            yield Change(column, Operation.BUCKET, amount)
        else:
            yield Change(column, Operation.ADD, amount)

    def _column(self, attribute: Attribute, event: Event) -> int | None:
        if attribute.by is None:
            return self._schema.columns[attribute.id]
        key = event.properties.get(attribute.by)
        if key is None:
            raise invalid_field(f'event.properties["{attribute.by}"]', f"is required: {attribute.id} is kept by it")
        return self._schema.columns.get(f"{attribute.id}.{_text(key)}")


def decayed(totals: FloatRow, landmarks: FloatRow, half_lives: NDArray[np.float64]) -> NDArray[np.float64]:
    """What sums that stand for their landmarks are worth at a time, which is given in each one's half-lives."""
    worth = np.exp2(np.minimum(landmarks - half_lives, _MAX_EXPONENT))
    # Without any event there is no landmark, and nothing to scale.
    worth[np.isnan(worth)] = 0
    return within_float32(totals * worth)


def within_float32(totals: NDArray[Any]) -> NDArray[np.float64]:
    """Sums, which stop at what a float32 holds."""
    stopped: NDArray[np.float64] = np.minimum(np.maximum(totals, -LARGEST), LARGEST)
    return stopped


def _amount(aggregate: Aggregate, event: Event) -> float:
    if not aggregate.property:
        return 1.0
    field = f'event.properties["{aggregate.property}"]'
    value = event.properties.get(aggregate.property)
    if value is None:
        raise invalid_field(field, "is required: an aggregate sums it")
    if not isinstance(value, float | int) or isinstance(value, bool) or not abs(value) <= LARGEST:
        raise invalid_field(field, "takes a finite number that fits a 32-bit float")
    return float(value)


def _text(value: Value) -> str:
    """A property as the key of a cell: 13.0 picks the cell `13`."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _joined(columns: list[NDArray[np.intp]]) -> IntRow:
    return np.concatenate(columns) if columns else np.empty(0, np.intp)
