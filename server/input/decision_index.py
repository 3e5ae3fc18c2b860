"""Whose decision was that? The row of the customer, for each decision that an outcome may still come for.

Decisions are numbered in the order in which they were made, so the index is an array: 20 bytes a decision.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from server.input.pages import Arrays, Pages, SavedPage, view

_BITS = 12
_ROWS = 1 << _BITS
_MASK = _ROWS - 1
NOBODY = -1


class _IndexPage:
    """Of 4,096 decisions in a row: their random tags, their customers' rows, and when the latest was made."""

    __slots__ = ("_latest", "households", "households_view", "rows", "rows_view", "tags", "tags_view")

    def __init__(self, arrays: Arrays | None = None, size: int = _ROWS) -> None:
        if arrays is None:
            tags, self.rows = np.zeros(size, np.uint64), np.full(size, NOBODY, np.int32)
            self.households, self._latest = np.full(size, NOBODY, np.int32), np.zeros(1, np.int64)
        else:
            tags, self.rows = arrays["tags"], arrays["rows"]
            self.households, self._latest = arrays["households"], arrays["latest"]
        self.tags: NDArray[np.uint64] = tags
        self.tags_view, self.rows_view, self.households_view = view(tags), view(self.rows), view(self.households)

    @property
    def latest_us(self) -> int:
        return int(self._latest[0])

    def made(self, time_us: int) -> None:
        self._latest[0] = max(self._latest[0], time_us)

    def arrays(self) -> Arrays:
        return {"tags": self.tags, "rows": self.rows, "households": self.households, "latest": self._latest}


class DecisionIndex:
    """Finds the rows of a decision's customer and household by the decision's number and tag."""

    def __init__(self) -> None:
        self._pages: Pages[_IndexPage] = Pages("decisions", _IndexPage, _ROWS)
        self._kept_from = 0

    def add(self, number: int, tag: int, time_us: int, row: int, household: int = NOBODY) -> None:
        """Adds the next decision; numbers may be left out."""
        self._pages.grow_to(number + 1)
        page, place = self._pages.writable(number >> _BITS), number & _MASK
        page.tags_view[place], page.rows_view[place], page.households_view[place] = tag, row, household
        page.made(time_us)

    def find(self, number: int, tag: int) -> tuple[int, int]:
        """The rows of a decision's customer and household; `NOBODY` for what is not known."""
        if not 0 <= number < self._pages.rows:
            return NOBODY, NOBODY
        page, place = self._pages[number >> _BITS], number & _MASK
        if not len(page.rows) or page.rows_view[place] < 0 or page.tags_view[place] != tag:
            return NOBODY, NOBODY
        return page.rows_view[place], page.households_view[place]

    def tag(self, number: int) -> int | None:
        """The tag of a decision, None if it is not known any more."""
        if not 0 <= number < self._pages.rows:
            return None
        page, place = self._pages[number >> _BITS], number & _MASK
        return page.tags_view[place] if len(page.rows) and page.rows_view[place] >= 0 else None

    def household(self, number: int) -> int:
        """The row of a decision's household; `NOBODY` if it had none or is not known any more."""
        if not 0 <= number < self._pages.rows:
            return NOBODY
        page, place = self._pages[number >> _BITS], number & _MASK
        return page.households_view[place] if len(page.rows) else NOBODY

    def retain(self, since_us: int) -> None:
        """Lets go of the pages whose decisions were all made before a time."""
        while self._kept_from < len(self._pages) - 1 and self._pages[self._kept_from].latest_us < since_us:
            self._pages.replace(self._kept_from, _IndexPage(size=0))
            self._kept_from += 1

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        return self._pages.capture()

    def restore(self, pages: Iterable[Arrays]) -> None:
        """Fills an empty index with captured pages."""
        for arrays in pages:
            self._pages.restore(_IndexPage(arrays))
        sizes = [len(page.rows) for page in self._pages]
        self._kept_from = next((number for number, size in enumerate(sizes) if size), len(sizes))
