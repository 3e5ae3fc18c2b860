"""Who holds a match key: the identifier that had it first, which everybody with the same key is joined to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from server.input.identifiers import Identifiers
from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage


class _HolderPage:
    """The row of the holder of each key."""

    __slots__ = ("rows",)

    def __init__(self, arrays: Arrays | None = None) -> None:
        self.rows = np.full(PAGE_ROWS, -1, np.int32) if arrays is None else arrays["rows"]

    def arrays(self) -> Arrays:
        return {"rows": self.rows}


class Matches:
    """Match keys of 16 bytes and their holders, in arrays."""

    def __init__(self) -> None:
        self.keys = Identifiers("match_keys")
        self._holders: Pages[_HolderPage] = Pages("match_holders", _HolderPage)

    def holder(self, key: bytes) -> int:
        """The row that holds a key, or -1."""
        number = self.keys.find(key)
        return -1 if number < 0 else self._holders[number >> PAGE_BITS].rows.item(number & PAGE_MASK)

    def hold(self, key: bytes, row: int) -> None:
        """Gives a key that nobody holds to a row."""
        number = self.keys.add(key)
        self._holders.grow_to(self.keys.end)
        self._holders.writable(number >> PAGE_BITS).rows[number & PAGE_MASK] = row

    def forget(self, rows: Sequence[int]) -> None:
        """Forgets the keys that these rows hold."""
        for number, page in enumerate(self._holders):
            for place in np.flatnonzero(np.isin(page.rows, rows)).tolist():
                self._holders.writable(number).rows[place] = -1
                self.keys.release(number * PAGE_ROWS + place)

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        captures = [self.keys.capture(), self._holders.capture()]
        return (page for pages in captures for page in pages)

    def restore(self, pages: Mapping[str, Iterable[Arrays]], end: int, free: Sequence[int]) -> None:
        """Fills an empty index with captured pages, by name."""
        self.keys.restore(pages.get("match_keys", ()), end, free)
        for arrays in pages.get("match_holders", ()):
            self._holders.restore(_HolderPage(arrays))
