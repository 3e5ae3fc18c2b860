"""Runs: rows of different lengths in arrays, for what most customers have little or nothing of.

A run is in a pool of its size: 8, 16, 32 … entries. One that fills up moves to the next size, so an entry costs its
bytes and at most as much again. Rows without a run cost nothing until a row of their page gets one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from server.domain.attribute import IntRow
from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage, by_page, view

_SMALLEST_BITS = 3
_CLASS_SHIFT = 27
_SLOT_MASK = (1 << _CLASS_SHIFT) - 1
_PAGE_ENTRIES = 16_384
_NONE = -1

Columns = tuple[NDArray[Any], ...]
Entries = tuple[NDArray[Any] | float, ...]


class _RowPage:
    """Where each row's run is: its size class and its place among the runs of that size."""

    __slots__ = ("runs", "runs_view")

    def __init__(self, arrays: Arrays | None = None) -> None:
        self.runs = np.full(PAGE_ROWS, _NONE, np.int32) if arrays is None else arrays["runs"]
        self.runs_view = view(self.runs)

    def arrays(self) -> Arrays:
        return {"runs": self.runs}


class _RunPage:
    """Runs of one size: how many entries each holds, and their columns, which are 0 behind those."""

    __slots__ = ("_names", "bytes", "columns", "used", "used_view")

    def __init__(self, names: tuple[str, ...], used: NDArray[np.int32], columns: Columns) -> None:
        self._names, self.used, self.columns = names, used, columns
        self.used_view = view(used)
        self.bytes = tuple(view(column).cast("B") for column in columns)

    def arrays(self) -> Arrays:
        return {"used": self.used} | dict(zip(self._names, self.columns, strict=True))


class _Pool:
    """All runs of one size."""

    def __init__(self, size: int, name: str, layout: Mapping[str, DTypeLike]) -> None:
        self.size = size
        self.per_page = max(_PAGE_ENTRIES // size, 1)
        self.pages: Pages[_RunPage] = Pages(name, self._blank, self.per_page)
        self.end = 0
        self.free: list[int] = []
        self._layout = layout

    def take(self) -> int:
        if self.free:
            return self.free.pop()
        self.end += 1
        self.pages.grow_to(self.end)
        return self.end - 1

    def restore(self, pages: Iterable[Arrays], slots: NDArray[np.int32]) -> None:
        names = tuple(self._layout)
        for arrays in pages:
            self.pages.restore(_RunPage(names, arrays["used"], tuple(arrays[name] for name in names)))
        self.end = int(slots.max()) + 1 if len(slots) else 0
        self.free = np.setdiff1d(np.arange(self.end), slots).tolist()

    def _blank(self) -> _RunPage:
        shape = (self.per_page, self.size)
        columns = tuple(np.zeros(shape, dtype) for dtype in self._layout.values())
        return _RunPage(tuple(self._layout), np.zeros(self.per_page, np.int32), columns)


class Runs:
    """The runs of every row: the same columns in each."""

    def __init__(self, name: str, layout: Mapping[str, DTypeLike], largest: int) -> None:
        """Starts without any; `largest` is how many entries a run holds at most, a power of two."""
        self._rows: Pages[_RowPage] = Pages(f"{name}.rows", _RowPage)
        sizes = range(_SMALLEST_BITS, largest.bit_length())
        self._pools = [_Pool(1 << bits, f"{name}.{1 << bits}", layout) for bits in sizes]
        self.largest = largest
        self._widths = [np.dtype(dtype) for dtype in layout.values()]
        self._sizes = np.array([pool.size for pool in self._pools], np.intp)
        self._per_page = np.array([pool.per_page for pool in self._pools], np.intp)

    def read(self, row: int) -> Columns | None:
        """The columns of a row's run, None if it has none. Views: do not keep or change them."""
        run = self._run(row)
        if run < 0:
            return None
        pool, slot = self._pools[run >> _CLASS_SHIFT], run & _SLOT_MASK
        page, place = pool.pages[slot // pool.per_page], slot % pool.per_page
        used = page.used.item(place)
        return tuple([column[place, :used] for column in page.columns])

    def gather(self, rows: IntRow) -> tuple[IntRow, IntRow, Columns]:
        """The runs of many rows, copied: the places of the rows that have one, how many entries, and the columns.

        A row's entries come together and in the order in which `read` gives them, and nothing else does.
        Cost: 0.5 us for each row that has a run, as those of neighbours are anywhere; nothing for the others.
        """
        runs = self._runs_of(rows)
        owners = np.flatnonzero(runs >= 0)
        runs = runs[owners]
        numbers, slots = runs >> _CLASS_SHIFT, runs & _SLOT_MASK
        pages: list[_RunPage] = []
        firsts = []
        for pool in self._pools:
            firsts.append(len(pages))
            pages += pool.pages
        per_page = self._per_page[numbers]
        places, cells = (np.array(firsts)[numbers] + slots // per_page).tolist(), slots % per_page
        pairs = zip(places, cells.tolist(), strict=True)
        used = np.array([pages[place].used_view[cell] for place, cell in pairs], np.intp)
        starts = cells * self._sizes[numbers]
        columns = [self._joined(column, pages, places, (starts, starts + used)) for column in range(len(self._widths))]
        return owners, used, tuple(columns)

    def _joined(
        self, column: int, pages: list[_RunPage], places: list[int], bounds: tuple[IntRow, IntRow]
    ) -> NDArray[Any]:
        """One column of these runs. Slices of bytes are joined in a third of the time of arrays."""
        dtype = self._widths[column]
        starts, ends = ((bound * dtype.itemsize).tolist() for bound in bounds)
        slices = [pages[place].bytes[column][start:end] for place, start, end in zip(places, starts, ends, strict=True)]
        return np.frombuffer(b"".join(slices), dtype)

    def _runs_of(self, rows: IntRow) -> NDArray[np.intp]:
        runs = np.full(len(rows), _NONE, np.intp)
        for number, mine, places in by_page(rows):
            if number < len(self._rows):
                runs[mine] = self._rows[number].runs[places]
        return runs

    def writable(self, row: int) -> Columns | None:
        """The same, about to be changed in place."""
        run = self._run(row)
        if run < 0:
            return None
        pool, slot = self._pools[run >> _CLASS_SHIFT], run & _SLOT_MASK
        pool.pages.writable(slot // pool.per_page)
        return self.read(row)

    def append(self, row: int, columns: Entries, count: int) -> bool:
        """Adds so many entries behind those of a row's run; False, and nothing is added, if they do not fit into it.

        Args:
            columns: An array for each column, or one number that stands in all of these entries.
        """
        run = self._run(row)
        if run < 0:
            return False
        pool, slot = self._pools[run >> _CLASS_SHIFT], run & _SLOT_MASK
        number, place = divmod(slot, pool.per_page)
        used = pool.pages[number].used.item(place)
        end = used + count
        if end > pool.size:
            return False
        page = pool.pages.writable(number)
        for mine, added in zip(page.columns, columns, strict=True):
            mine[place, used:end] = added
        page.used[place] = end
        return True

    def grow(self, row: int, count: int) -> bool:
        """Moves a row's run to where so many more entries fit into it; False if it has none, or they fit nowhere."""
        columns = self.read(row)
        if columns is None or len(columns[0]) + count > self.largest:
            return False
        used = len(columns[0])
        number = (used + count - 1).bit_length() - _SMALLEST_BITS
        pool = self._pools[number]
        slot = pool.take()
        page, place = pool.pages.writable(slot // pool.per_page), slot % pool.per_page
        for mine, moved in zip(page.columns, columns, strict=True):
            mine[place, :used] = moved
        page.used[place] = used
        self.clear(row)
        self._rows.writable(row >> PAGE_BITS).runs_view[row & PAGE_MASK] = number << _CLASS_SHIFT | slot
        return True

    def assign(self, row: int, columns: Entries, count: int) -> None:
        """Gives a row a run of so many entries, at most `largest`, instead of the one it has; see `append`."""
        self.clear(row)
        if not count:
            return
        number = max((count - 1).bit_length() - _SMALLEST_BITS, 0)
        pool = self._pools[number]
        slot = pool.take()
        page, place = pool.pages.writable(slot // pool.per_page), slot % pool.per_page
        for mine, given in zip(page.columns, columns, strict=True):
            mine[place, :count] = given
        page.used[place] = count
        self._rows.grow_to(row + 1)
        self._rows.writable(row >> PAGE_BITS).runs_view[row & PAGE_MASK] = number << _CLASS_SHIFT | slot

    def clear(self, row: int) -> None:
        """Forgets the run of a row; its cells become zeros."""
        run = self._run(row)
        if run < 0:
            return
        pool, slot = self._pools[run >> _CLASS_SHIFT], run & _SLOT_MASK
        page, place = pool.pages.writable(slot // pool.per_page), slot % pool.per_page
        page.used[place] = 0
        for column in page.columns:
            column[place] = 0
        pool.free.append(slot)
        self._rows.writable(row >> PAGE_BITS).runs_view[row & PAGE_MASK] = _NONE

    def rows(self) -> Iterator[int]:
        """The rows that have a run, in their order."""
        for number, page in enumerate(self._rows):
            for place in np.flatnonzero(page.runs >= 0).tolist():
                yield number * PAGE_ROWS + place

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        captures = [self._rows.capture(), *(pool.pages.capture() for pool in self._pools)]
        return (page for pages in captures for page in pages)

    def restore(self, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills empty runs with captured pages, by name."""
        for arrays in pages.get(self._rows.name, ()):
            self._rows.restore(_RowPage(arrays))
        taken = np.concatenate([page.runs[page.runs >= 0] for page in self._rows] or [np.empty(0, np.int32)])
        for number, pool in enumerate(self._pools):
            slots = taken[taken >> _CLASS_SHIFT == number] & _SLOT_MASK
            pool.restore(pages.get(pool.pages.name, ()), slots)

    def _run(self, row: int) -> int:
        """The run of a row, -1 if it has none; pages are made when one of their rows gets one."""
        number = row >> PAGE_BITS
        return _NONE if number >= len(self._rows) else self._rows[number].runs_view[row & PAGE_MASK]
