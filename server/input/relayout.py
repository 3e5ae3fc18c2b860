"""Moves every row to another schema. What both declare alike keeps its value; anything else starts blank."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from server.domain.attribute import Attribute, AttributeType, FloatRow, IntRow, Schema
from server.input.aggregates import Aggregates
from server.input.pages import PAGE_ROWS
from server.input.profiles import ProfileTable
from server.input.rows import RowPage


def relayout(table: ProfileTable, schema: Schema) -> None:
    """Lays a table out by another schema: one copy of it, page by page; nothing if only the offers changed."""
    before = table.schema
    if schema == before:
        return
    plan = _Plan(before, schema)
    blank = Aggregates(schema).blank
    lost: list[tuple[int, IntRow]] = []
    for number, page in enumerate(list(table.pages)):
        moved = RowPage.blank(blank)
        plan.move(page.values, moved.values)
        lost += plan.lost(page.values, moved.values, number * PAGE_ROWS)
        moved.versions[:], moved.updates_us[:] = page.versions, page.updates_us
        for old, new in plan.purposes.items():
            moved.granted |= (page.granted >> np.uint32(old) & np.uint32(1)) << np.uint32(new)
            moved.recorded |= (page.recorded >> np.uint32(old) & np.uint32(1)) << np.uint32(new)
        table.pages.replace(number, moved)
    settable = {
        source: target
        for source, target in plan.columns.items()
        if source < before.settable_width and target < schema.settable_width
    }
    for times, cells, width in (
        (table.times, settable, schema.settable_width),
        (table.consent_times, plan.purposes, len(schema.purposes)),
    ):
        times.relayout(np.array(list(cells), np.intp), np.array(list(cells.values()), np.intp), width)
    for row, gone in lost:
        table.times.forget(row, gone)
    table.buckets.relayout({source: target for source, target in plan.columns.items() if source not in settable})
    table.lay_out(schema)
    for row in table.graph.customers():
        table.stale(row)


class _Plan:
    """Which columns and purposes move where.

    Attributes:
        columns: The target of each source column that moves, the words of sets by their place.
        purposes: The new bit of each old one.
    """

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before, self._after = before, after
        self.columns: dict[int, int] = {}
        self._recodings: dict[int, FloatRow] = {}
        self._sets: list[tuple[Attribute, Attribute]] = []
        for attribute in after.attributes:
            old = before.by_id.get(attribute.id)
            if old is not None and old.type is attribute.type and _kept_alike(old, attribute):
                self._plan(old, attribute)
        self.purposes: Mapping[int, int] = {
            before.purposes.index(purpose): bit
            for bit, purpose in enumerate(after.purposes)
            if purpose in before.purposes
        }

    def move(self, source: FloatRow, target: FloatRow) -> None:
        """Moves the values of one page."""
        for old, new in self.columns.items():
            if old in self._recodings:
                target[:, new] = _recoded(source[:, old], self._recodings[old])
            elif self._before.attribute_of_column[old].type is not AttributeType.SET:
                target[:, new] = source[:, old]
        for before, after in self._sets:
            self._move_set(before, after, source, target)

    def lost(self, source: FloatRow, target: FloatRow, first_row: int) -> Iterator[tuple[int, IntRow]]:
        """The rows of a page with the target columns whose values the new schema does not know any more."""
        moved = [(old, self.columns[old]) for old in self._recodings]
        if moved:
            old, new = (np.array(columns, np.intp) for columns in zip(*moved, strict=True))
            gone = ~np.isnan(source[:, old]) & np.isnan(target[:, new])
            for place in np.flatnonzero(gone.any(axis=1)).tolist():
                yield first_row + place, new[gone[place]]

    def _plan(self, old: Attribute, new: Attribute) -> None:
        names = set(old.column_names())
        for name in new.column_names():
            if name in names:
                self.columns[self._before.columns[name]] = self._after.columns[name]
        if new.type is AttributeType.SET:
            self._sets.append((old, new))
        elif old.values != new.values:
            codes = self._after.codes[new.id]
            recoding = np.array([codes.get(value, np.nan) for value in old.values], np.float32)
            self._recodings |= {self._before.columns[name]: recoding for name in old.column_names()}

    def _move_set(self, old: Attribute, new: Attribute, source: FloatRow, target: FloatRow) -> None:
        """Moves a set; members that the new schema does not know are forgotten."""
        present = ~np.isnan(source[:, self._before.columns[old.id]])
        words = np.array([self._after.columns[name] for name in new.column_names()], np.intp)
        target[np.ix_(present, words)] = 0
        for value in set(old.values) & set(new.values):
            column, bit = self._before.member(old, value)
            new_column, new_bit = self._after.member(new, value)
            members = np.zeros(PAGE_ROWS, np.bool_)
            members[present] = (source[present, column].astype(np.int32) & bit) != 0
            target[members, new_column] += new_bit


def _kept_alike(old: Attribute, new: Attribute) -> bool:
    """Whether what was kept of events so far is what is to be kept; a window may grow or shrink."""
    if old.aggregate is None or new.aggregate is None:
        return old.aggregate is new.aggregate
    ours, theirs = old.aggregate, new.aggregate
    return old.by == new.by and replace(ours, window_days=bool(ours.window_days)) == replace(
        theirs, window_days=bool(theirs.window_days)
    )


def _recoded(column: FloatRow, codes: FloatRow) -> FloatRow:
    present = ~np.isnan(column)
    recoded = np.full_like(column, np.nan)
    recoded[present] = codes[column[present].astype(np.intp)]
    return recoded
