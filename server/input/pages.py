"""Pages: columns of 512 rows each, added as rows come, so that growth copies nothing.

A capture saves the pages as they are at one moment while they go on changing: whoever is about to write to a page that
has not been saved yet saves it first. So a consistent copy of everything costs a copy of one page at a time, a fraction
of a millisecond each, and never a pause.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow

PAGE_BITS = 9
PAGE_ROWS = 1 << PAGE_BITS
PAGE_MASK = PAGE_ROWS - 1

Arrays = Mapping[str, NDArray[Any]]


def view(column: NDArray[Any]) -> memoryview:
    """A column to read and write single cells of, in a third of the time that numpy takes."""
    return memoryview(column)  # type: ignore[arg-type]  # numpy's arrays are buffers from Python 3.12 on for type checkers.


def by_page(rows: IntRow) -> Iterator[tuple[int, IntRow | slice, IntRow]]:
    """Rows by the page that they are in: its number, where they are among the rows, their places in the page."""
    numbers, places = rows >> PAGE_BITS, rows & PAGE_MASK
    if len(rows) and (numbers == numbers[0]).all():
        yield int(numbers[0]), slice(None), places
        return
    if (numbers[1:] >= numbers[:-1]).all():
        # Rows in order are the usual case, and need no copies to be picked.
        for start, end in pairwise(_bounds(numbers)):
            yield int(numbers[start]), slice(start, end), places[start:end]
        return
    order = np.argsort(numbers, kind="stable")
    for start, end in pairwise(_bounds(numbers[order])):
        mine = order[start:end]
        yield int(numbers[mine[0]]), mine, places[mine]


def _bounds(numbers: IntRow) -> list[int]:
    """Where each run of equal numbers begins, and where the last one ends."""
    bounds: list[int] = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1)).tolist()
    return bounds


class Page(Protocol):
    """Some columns of 512 rows."""

    def arrays(self) -> Arrays:
        """The columns by name: everything that the page is made from again. Not copied."""
        ...


class SavedPage(NamedTuple):
    """A copy of one page, of the pages of one name."""

    name: str
    number: int
    arrays: Arrays


_Page = TypeVar("_Page", bound=Page)


class Pages(Generic[_Page]):
    """A list of pages with a name. Read with `pages[number]`, write to what `writable(number)` returns."""

    def __init__(self, name: str, blank: Callable[[], _Page], rows: int = PAGE_ROWS) -> None:
        """Starts empty; `rows` is how many each page has."""
        self.name = name
        self._rows = rows
        self._blank = blank
        self._pages: list[_Page] = []
        self._unsaved: dict[int, None] = {}
        self._saved: list[SavedPage] = []

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, number: int) -> _Page:
        return self._pages[number]

    def __iter__(self) -> Iterator[_Page]:
        return iter(self._pages)

    @property
    def rows(self) -> int:
        """How many rows there are room for."""
        return len(self._pages) * self._rows

    def writable(self, number: int) -> _Page:
        """A page that is about to be changed."""
        if self._unsaved and number in self._unsaved:
            self._save(number)
        return self._pages[number]

    def grow_to(self, rows: int) -> None:
        """Adds blank pages until there are so many rows."""
        while len(self._pages) * self._rows < rows:
            self._pages.append(self._blank())

    def replace(self, number: int, page: _Page) -> None:
        """Puts another page in the place of one."""
        self.writable(number)
        self._pages[number] = page

    def restore(self, page: _Page) -> None:
        """Adds a page behind the others."""
        self._pages.append(page)

    def capture(self) -> Iterator[SavedPage]:
        """Copies of all pages as they are now, each made when it is asked for or just before it changes.

        A second capture ends the first.
        """
        self._unsaved.clear()
        self._saved.clear()
        self._unsaved = dict.fromkeys(range(len(self._pages)))
        saved: list[SavedPage] = []
        self._saved = saved
        return self._drain(self._unsaved, saved)

    def _drain(self, unsaved: dict[int, None], saved: list[SavedPage]) -> Iterator[SavedPage]:
        try:
            while saved or unsaved:
                if not saved:
                    self._save(next(iter(unsaved)))
                yield saved.pop()
        finally:
            unsaved.clear()

    def _save(self, number: int) -> None:
        del self._unsaved[number]
        arrays = {name: array.copy() for name, array in self._pages[number].arrays().items()}
        self._saved.append(SavedPage(self.name, number, arrays))
