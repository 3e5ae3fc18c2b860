"""When each cell of a row was set: what lets a cell keep the value with the latest event time, in whatever order.

Most customers' attributes were set together, by one load or one message, so a row has one time. Only when its cells
come to differ does it get a time for each of them: 8 bytes a cell, of a pool. Pages are made when one of their rows is
stamped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow
from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage, view

NEVER = -(2**63)
"""The time of a cell that was never set."""

TimeRow = NDArray[np.int64]
_SHARED = -1


class _RowPage:
    """For each row the time that its cells share, and where its own times are, if they do not."""

    __slots__ = ("own", "own_view", "shared", "shared_view")

    def __init__(self, arrays: Arrays | None = None) -> None:
        self.shared = np.full(PAGE_ROWS, NEVER, np.int64) if arrays is None else arrays["shared"]
        self.own = np.full(PAGE_ROWS, _SHARED, np.int32) if arrays is None else arrays["own"]
        self.shared_view, self.own_view = view(self.shared), view(self.own)

    def arrays(self) -> Arrays:
        return {"shared": self.shared, "own": self.own}


class _TimePage:
    """Times of cells: int64 [rows, cells]."""

    __slots__ = ("times",)

    def __init__(self, times: NDArray[np.int64]) -> None:
        self.times = times

    def arrays(self) -> Arrays:
        return {"times": self.times}


class EventTimes:
    """The event times of the cells of rows, in microseconds since 1970."""

    def __init__(self, name: str, width: int) -> None:
        """Starts empty; `width` is how many cells a row has."""
        self.width = width
        self._rows: Pages[_RowPage] = Pages(f"{name}.rows", _RowPage)
        self._own: Pages[_TimePage] = Pages(f"{name}.own", self._blank)
        self._end = 0
        self._free: list[int] = []

    def stamp(self, row: int, cells: Sequence[int], time_us: int, present: Callable[[], BoolRow]) -> Sequence[int]:
        """The cells that may be set with this time, which they have from now on; the others were set later.

        Args:
            present: Tells which cells have a value now, bool [width]; rarely asked.
        """
        number, place = row >> PAGE_BITS, row & PAGE_MASK
        if number >= len(self._rows):
            self._rows.grow_to(row + 1)
        page = self._rows[number]
        own = page.own_view[place]
        if own < 0:
            shared = page.shared_view[place]
            if shared == time_us:
                return cells
            if shared == NEVER:
                self._rows.writable(number).shared_view[place] = time_us
                return cells
            own = self.spread(row, present)
        times = self._own.writable(own >> PAGE_BITS).times[own & PAGE_MASK]
        won = [cell for cell in cells if time_us >= times[cell]]
        times[won] = time_us
        return won

    def spread(self, row: int, present: Callable[[], BoolRow]) -> int:
        """Gives every cell of a row a time of its own, those without a value `NEVER`; returns where the times are."""
        self._rows.grow_to(row + 1)
        page, place = self._rows.writable(row >> PAGE_BITS), row & PAGE_MASK
        own: int = page.own_view[place]
        if own >= 0:
            return own
        if self._free:
            own = self._free.pop()
        else:
            own = self._end
            self._end += 1
            self._own.grow_to(self._end)
        times = self._own.writable(own >> PAGE_BITS).times[own & PAGE_MASK]
        times[:] = NEVER
        times[present()] = page.shared_view[place]
        page.own_view[place] = own
        return own

    def times(self, row: int, present: BoolRow) -> TimeRow:
        """The time of each cell of a row: int64 [width]. Do not change it."""
        if row >= self._rows.rows:
            return np.full(self.width, NEVER)
        page, place = self._rows[row >> PAGE_BITS], row & PAGE_MASK
        own = page.own_view[place]
        if own >= 0:
            own_times: TimeRow = self._own[own >> PAGE_BITS].times[own & PAGE_MASK]
            return own_times
        times: TimeRow = np.where(present, np.int64(page.shared_view[place]), np.int64(NEVER))
        return times

    def forget(self, row: int, cells: Sequence[int] | NDArray[np.intp]) -> None:
        """Forgets when cells were set whose values are gone. Cells that share the row's time are so by themselves."""
        if row < self._rows.rows:
            own = self._rows[row >> PAGE_BITS].own_view[row & PAGE_MASK]
            if own >= 0:
                self._own.writable(own >> PAGE_BITS).times[own & PAGE_MASK][cells] = NEVER

    def clear(self, row: int) -> None:
        """Forgets the times of a row."""
        if row >= self._rows.rows:
            return
        page, place = self._rows.writable(row >> PAGE_BITS), row & PAGE_MASK
        if page.own_view[place] >= 0:
            self._free.append(page.own_view[place])
        page.own_view[place], page.shared_view[place] = _SHARED, NEVER

    def stamp_blank(self, rows: NDArray[np.intp], times_us: NDArray[np.int64]) -> BoolRow:
        """Stamps the rows of one page that have no times yet, or exactly these; tells which of them it was."""
        self._rows.grow_to(int(rows[-1]) + 1)
        page, places = self._rows.writable(int(rows[0]) >> PAGE_BITS), rows & PAGE_MASK
        shared = page.shared[places]
        fits: BoolRow = (page.own[places] < 0) & ((shared == NEVER) | (shared == times_us))
        page.shared[places[fits]] = times_us[fits]
        return fits

    def relayout(self, sources: NDArray[np.intp], targets: NDArray[np.intp], width: int) -> None:
        """Moves the times of cells to other cells; cells that nothing is moved to have never been set."""
        self.width = width
        for number, page in enumerate(list(self._own)):
            moved = self._blank()
            moved.times[:, targets] = page.times[:, sources]
            self._own.replace(number, moved)

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        rows, own = self._rows.capture(), self._own.capture()
        return (page for pages in (rows, own) for page in pages)

    def restore(self, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills empty times with captured pages, by name."""
        for arrays in pages.get(self._rows.name, ()):
            self._rows.restore(_RowPage(arrays))
        for arrays in pages.get(self._own.name, ()):
            self._own.restore(_TimePage(arrays["times"]))
        taken = np.concatenate([page.own[page.own >= 0] for page in self._rows] or [np.empty(0, np.int32)])
        self._end = int(taken.max()) + 1 if len(taken) else 0
        self._free = np.setdiff1d(np.arange(self._end), taken).tolist()

    def _blank(self) -> _TimePage:
        return _TimePage(np.full((PAGE_ROWS, self.width), NEVER, np.int64))
