"""Columns of many customers at once: what `VariableReader` reads of one customer, for a block of them, bit by bit.

A page of 512 rows with four plain columns costs some 20 us: which rows are customers, one gather, no Python for each
customer. Most of it is waiting for memory, as the cells of a column are a row apart. Only the sums of windows cost some
for each customer who has day buckets (`DayBuckets.gather`).
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import FloatRow, IntRow, Schema
from server.input.aggregates import Aggregates, decayed, within_float32
from server.input.customers import customers_of_page
from server.input.day_buckets import DayBuckets, bucket_key, columns_of_keys
from server.input.pages import PAGE_MASK, PAGE_ROWS, by_page
from server.input.profiles import ProfileTable
from server.input.rows import RowPage

Bits = NDArray[np.uint32]

Part = tuple[int, IntRow | slice, IntRow | slice]
"""A page's number, where its rows stand among those that are read, and their places in the page: a slice for all."""

_NOBODY = np.empty(0, np.intp)
_FEW_ROWS = PAGE_ROWS // 8
"""So many rows of a page are picked cell by cell; for more, whole columns are faster."""


class TableLaidOutAnewError(RuntimeError):
    """The table has another schema by now, in which the columns may be anything."""


class Block(NamedTuple):
    """Customers of a few pages of the table: their rows in order, and float32 [columns, rows]. Copies: keep them."""

    rows: IntRow
    values: FloatRow


class CustomerColumns:
    """Some columns of the customers of a table, as of the table's schema when this is made.

    The table may change between two calls and between two blocks; each of them sees it as it is then.
    """

    def __init__(self, table: ProfileTable, columns: IntRow) -> None:
        """`columns` are columns of the table's schema in any order."""
        self._table = table
        self._schema = table.schema
        self._width = len(columns)
        self._ages: IntRow = np.flatnonzero(np.isin(columns, self._schema.age_columns))
        self._purposes = _purposes(self._schema, columns)
        self._windows = _Windows(table.aggregates, columns)
        self._decayed = _DecayedSums(table.aggregates, columns)
        # What decayed sums are scaled by is gathered behind what is asked for.
        self._gathered: IntRow = np.concatenate([columns, self._decayed.landmarks]).astype(np.intp)

    def blocks(self, now_days: float) -> Iterator[Block]:
        """All customers, page by page; pages without customers are left out. Between two blocks the table may change.

        Raises:
            TableLaidOutAnewError: between two blocks.
        """
        number = 0
        while number < len(self._table.pages):
            block = self.block(range(number, number + 1), now_days)
            if len(block.rows):
                yield block
            number += 1

    def block(self, pages: range, now_days: float) -> Block:
        """The customers of some pages, as far as there are such pages; there may be none.

        Whoever goes through all pages that way, while the table changes, sees each customer once, but for those who
        are joined or parted meanwhile: they get another row, and so may come twice or not at all. Rows that were let
        go of never come.

        Raises:
            TableLaidOutAnewError.
        """
        self._check()
        last = min(pages.stop, len(self._table.pages))
        customers = [(number, customers_of_page(self._table, number)) for number in range(pages.start, last)]
        rows = np.concatenate([_NOBODY, *(mine for _, mine in customers)])
        return Block(rows, self._read(rows, _parts(customers), now_days))

    def read(self, rows: IntRow, now_days: float) -> FloatRow:
        """The columns of any rows, in their order, at a time in days since 2020: float32 [columns, rows].

        Raises:
            TableLaidOutAnewError.
        """
        self._check()
        return self._read(rows, by_page(rows), now_days)

    def _read(self, rows: IntRow, parts: Iterable[Part], now_days: float) -> FloatRow:
        values = np.empty((len(self._gathered), len(rows)), np.float32)
        granted = np.empty(len(rows) if self._purposes else 0, np.uint32)
        for number, mine, places in parts:
            page = self._table.pages[number]
            values[:, mine] = self._cells(page, places)
            if self._purposes:
                granted[mine] = page.granted[places]
        wanted = values[: self._width]
        self._windows.read(wanted, self._table.buckets, rows, now_days)
        self._decayed.read(wanted, values[self._width :], now_days)
        if len(self._ages):
            wanted[self._ages] = now_days - wanted[self._ages].astype(np.float64)
        for mask, columns in self._purposes:
            refused = (granted & mask) == 0
            for column in columns:
                wanted[column][refused] = np.nan
        return wanted

    def consents(self, rows: IntRow) -> Bits:
        """The purposes that the customers of any rows have granted, a bit for each of the schema's: uint32 [rows].

        Raises:
            TableLaidOutAnewError.
        """
        self._check()
        granted = np.empty(len(rows), np.uint32)
        for number, mine, places in by_page(rows):
            granted[mine] = self._table.pages[number].granted[places]
        return granted

    def _cells(self, page: RowPage, places: IntRow | slice) -> FloatRow:
        """The gathered columns of some rows of a page: float32 [columns, rows]."""
        if isinstance(places, slice):
            return page.values.T[self._gathered]
        if len(places) <= _FEW_ROWS:
            return page.values[places, self._gathered[:, None]]
        return page.values.T[self._gathered].take(places, axis=1)

    def _check(self) -> None:
        if self._table.schema is not self._schema:
            raise TableLaidOutAnewError("the table was laid out by another schema")


class _Windows:
    """Sums of windows among some columns.

    They are summed in float64 in the order of the buckets, like those of one customer.
    """

    def __init__(self, aggregates: Aggregates, columns: IntRow) -> None:
        self._places: IntRow = np.flatnonzero(aggregates.windows[columns])
        windowed, self._sums = np.unique(columns[self._places], return_inverse=True)
        self._count = len(windowed)
        self._windowed, self._days = windowed, aggregates.windows[windowed]
        self._width = len(aggregates.windows)
        self._sum_of_column = np.zeros(self._width, np.intp)
        self._sum_of_column[windowed] = np.arange(self._count)

    def read(self, values: FloatRow, buckets: DayBuckets, rows: IntRow, now_days: float) -> None:
        """Puts the sums of customers who have day buckets in place."""
        if not self._count:
            return
        owners, sizes, keys, amounts = buckets.gather(rows)
        if not len(owners):
            return
        columns = columns_of_keys(keys)
        # A window that nobody asks for never begins, so that no bucket counts for it.
        tomorrow = math.floor(now_days) + 1
        begins = np.full(self._width, bucket_key(tomorrow, 0))
        begins[self._windowed] = (tomorrow - self._days) << 16
        counts = np.flatnonzero((keys < bucket_key(tomorrow, 0)) & (keys >= begins[columns]))
        sums = np.repeat(np.arange(len(owners)) * self._count, sizes)[counts] + self._sum_of_column[columns[counts]]
        totals = within_float32(np.bincount(sums, amounts[counts], len(owners) * self._count))
        values[self._places[:, None], owners] = totals.reshape(-1, self._count).T[self._sums]


class _DecayedSums:
    """Decayed sums among some columns.

    Attributes:
        landmarks: The columns of the landmarks that they are scaled by, one for each sum.
    """

    def __init__(self, aggregates: Aggregates, columns: IntRow) -> None:
        found = [
            (place, sums.landmark, 1 / sums.half_life_days)
            for sums in aggregates.decayed
            for place in np.flatnonzero(np.isin(columns, sums.columns)).tolist()
        ]
        self._places = np.array([place for place, _, _ in found], np.intp)
        self.landmarks: IntRow = np.array([landmark for _, landmark, _ in found], np.intp)
        self._rates = np.array([rate for _, _, rate in found])[:, None]

    def read(self, values: FloatRow, landmarks: FloatRow, now_days: float) -> None:
        """Puts what the sums are worth in place of what they were worth at their landmarks."""
        if len(self._places):
            values[self._places] = decayed(values[self._places], landmarks, now_days * self._rates)


def _parts(customers: Iterable[tuple[int, IntRow]]) -> Iterator[Part]:
    """The rows of some pages one after the other; most pages are full of customers, and are read whole."""
    start = 0
    for number, rows in customers:
        end = start + len(rows)
        yield number, slice(start, end), slice(None) if len(rows) == PAGE_ROWS else rows & PAGE_MASK
        start = end


def _purposes(schema: Schema, columns: IntRow) -> list[tuple[np.uint32, list[int]]]:
    """The bit of each purpose that some of the columns ask for, and their places."""
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns.tolist()):
        purpose = schema.attribute_of_column[column].purpose
        if purpose is not None:
            places.setdefault(purpose, []).append(place)
    return [(np.uint32(1 << schema.purposes.index(purpose)), found) for purpose, found in places.items()]
