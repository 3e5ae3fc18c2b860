"""Identifiers as numbers: an open-addressing hash index in arrays, and the names themselves beside it.

A look-up compares names, not only hashes, so that no two customers can ever be taken for each other, whatever somebody
puts in a cookie. A name costs its bytes, 13 bytes of hash and place, and about 7 of index; CPython's dict takes 150.

The index is 4,096 small tables, picked by the hash's upper bits. A table that fills up is made again at twice the size:
a few hundred names at a million, so growth is never felt.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from server.domain.attribute import IntRow
from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage, by_page, view

_TABLE_SHIFT = 52
_TABLES = 1 << (64 - _TABLE_SHIFT)
_MIN_SLOTS = 8
_PAD = 32
"""Slots behind a table's last home slot, so that a probe never wraps around."""

_EMPTY = -1
_MOST_BYTES = PAGE_ROWS * 256
"""Names of a page take fewer bytes than this; more are those of names that are gone."""


class _NamePage:
    """The hashes and names of 512 numbers. A number without a name has length 0."""

    __slots__ = ("bytes", "hashes", "hashes_view", "lengths", "starts")

    def __init__(self, arrays: Arrays | None = None) -> None:
        blank = arrays is None
        self.hashes: NDArray[np.uint64] = np.zeros(PAGE_ROWS, np.uint64) if blank else arrays["hashes"]  # type: ignore[index]
        self.starts: NDArray[np.uint32] = np.zeros(PAGE_ROWS, np.uint32) if blank else arrays["starts"]  # type: ignore[index]
        self.lengths: NDArray[np.uint8] = np.zeros(PAGE_ROWS, np.uint8) if blank else arrays["lengths"]  # type: ignore[index]
        self.bytes = bytearray() if blank else bytearray(arrays["bytes"].tobytes())  # type: ignore[index]
        self.hashes_view = view(self.hashes)

    def compact(self) -> None:
        """Lets go of the bytes of names that have been released."""
        names = [
            bytes(self.bytes[start : start + length])
            for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)
        ]
        self.starts[:] = np.cumsum([0, *self.lengths[:-1].tolist()])
        self.bytes = bytearray(b"".join(names))

    def arrays(self) -> Arrays:
        return {
            "hashes": self.hashes,
            "starts": self.starts,
            "lengths": self.lengths,
            "bytes": np.frombuffer(bytes(self.bytes), np.uint8),
        }


class Identifiers:
    """Numbers names from 0 on; numbers of removed names are given again."""

    def __init__(self, name: str = "identifiers") -> None:
        self._pages: Pages[_NamePage] = Pages(name, _NamePage)
        self._tables: list[memoryview | None] = [None] * _TABLES
        self._masks = [0] * _TABLES
        self._counts = [0] * _TABLES
        self._free: list[int] = []
        self._end = 0
        self._named = 0

    def __len__(self) -> int:
        """How many names there are."""
        return self._named

    @property
    def end(self) -> int:
        """One more than the highest number that was ever given."""
        return self._end

    def find(self, name: bytes) -> int:
        """The number of a name, or -1."""
        digest = xxh3_64_intdigest(name)
        table = self._tables[digest >> _TABLE_SHIFT]
        if table is None:
            return _EMPTY
        pages = self._pages
        slot = digest & self._masks[digest >> _TABLE_SHIFT]
        while (number := table[slot]) >= 0:
            page = pages[number >> PAGE_BITS]
            place = number & PAGE_MASK
            if page.hashes_view[place] == digest:
                start = page.starts.item(place)
                if page.bytes[start : start + page.lengths.item(place)] == name:
                    return number
            slot += 1
        return _EMPTY

    def add(self, name: bytes) -> int:
        """A number for a name of 1 to 255 bytes that has none yet."""
        number = self.reserve()
        self._write_name(number, name)
        self._insert(xxh3_64_intdigest(name), number)
        self._named += 1
        return number

    def reserve(self) -> int:
        """A number without a name."""
        if self._free:
            return self._free.pop()
        number = self._end
        self._end += 1
        if number >> PAGE_BITS == len(self._pages):
            self._pages.grow_to(self._end)
        return number

    def release(self, number: int) -> None:
        """Takes a number's name, if it has one, and gives the number to somebody else some day."""
        page = self._pages.writable(number >> PAGE_BITS)
        place = number & PAGE_MASK
        if page.lengths[place]:
            digest = page.hashes_view[place]
            start = page.starts.item(place)
            page.bytes[start : start + page.lengths.item(place)] = bytes(page.lengths.item(place))
            page.lengths[place] = 0
            page.hashes[place] = 0
            self._named -= 1
            self._rebuild(digest >> _TABLE_SHIFT, without=number)
        self._free.append(number)

    def name(self, number: int) -> bytes:
        """The name of a number, empty if it has none."""
        page, place = self._pages[number >> PAGE_BITS], number & PAGE_MASK
        start = page.starts.item(place)
        return bytes(page.bytes[start : start + page.lengths.item(place)])

    def names(self, numbers: IntRow) -> list[bytes]:
        """The names of many numbers, empty where there is none."""
        names = [b""] * len(numbers)
        every = range(len(numbers))
        for number, mine, places in by_page(numbers):
            page = self._pages[number]
            starts = page.starts[places]
            ends = (starts + page.lengths[places]).tolist()
            wanted = every[mine] if isinstance(mine, slice) else mine.tolist()
            for place, start, end in zip(wanted, starts.tolist(), ends, strict=True):
                names[place] = bytes(page.bytes[start:end])
        return names

    def lengths(self, number: int) -> NDArray[np.uint8]:
        """How many bytes the names of a page's numbers take, 0 where there is none: uint8 [512]. Do not change it."""
        return self._pages[number].lengths

    def named(self) -> Iterator[int]:
        """Every number that has a name, in order."""
        for number, page in enumerate(self._pages):
            yield from (np.flatnonzero(page.lengths) + number * PAGE_ROWS).tolist()

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        return self._pages.capture()

    def restore(self, pages: Iterable[Arrays], end: int, free: Sequence[int]) -> None:
        """Fills an empty index with captured pages, the end and the free numbers."""
        for arrays in pages:
            self._pages.restore(_NamePage(arrays))
        self._end, self._free = end, list(free)
        self._named = sum(int(np.count_nonzero(page.lengths)) for page in self._pages)
        self._index_all()

    @property
    def free(self) -> tuple[int, ...]:
        """The numbers to give again."""
        return tuple(self._free)

    def _write_name(self, number: int, name: bytes) -> None:
        page, place = self._pages.writable(number >> PAGE_BITS), number & PAGE_MASK
        if len(page.bytes) > _MOST_BYTES:
            page.compact()
        page.hashes[place] = xxh3_64_intdigest(name)
        page.starts[place] = len(page.bytes)
        page.lengths[place] = len(name)
        page.bytes += name

    def _insert(self, digest: int, number: int) -> None:
        table_number = digest >> _TABLE_SHIFT
        table = self._tables[table_number]
        count = self._counts[table_number] = self._counts[table_number] + 1
        if table is None or count * 10 > (self._masks[table_number] + 1) * 7:
            self._rebuild(table_number, number)
            return
        slot = digest & self._masks[table_number]
        while table[slot] >= 0:
            slot += 1
        if slot == len(table) - 1:
            self._rebuild(table_number, number)
        else:
            table[slot] = number

    def _rebuild(self, table_number: int, more: int | None = None, without: int | None = None) -> None:
        """Makes a table again, with one number more or less."""
        table = self._tables[table_number]
        numbers = [] if table is None else [number for number in table if number >= 0 and number != without]
        if more is not None:
            numbers.append(more)
        hashes = [self._pages[number >> PAGE_BITS].hashes_view[number & PAGE_MASK] for number in numbers]
        self._place(table_number, np.array(hashes, np.uint64), np.array(numbers, np.int32))

    def _place(self, table_number: int, hashes: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        """Fills a table of at most 70 % load by linear probing, all numbers at once.

        In the order of their home slots, each number takes its home or the slot behind the one before, whichever is
        later: a running maximum.
        """
        slots = _MIN_SLOTS
        while len(numbers) * 10 > slots * 7:
            slots *= 2
        rank = np.arange(len(numbers))
        homes = (hashes & np.uint64(slots - 1)).astype(np.int64)
        order = np.argsort(homes, kind="stable")
        places = np.maximum.accumulate(homes[order] - rank) + rank
        # The last slot stays empty, so that every probe ends.
        last = int(places[-1]) if len(places) else 0
        table = np.full(max(slots + _PAD, last + 2), _EMPTY, np.int32)
        table[places] = numbers[order]
        self._tables[table_number] = view(table)
        self._masks[table_number] = slots - 1
        self._counts[table_number] = len(numbers)

    def _index_all(self) -> None:
        if not len(self._pages):
            return
        hashes = np.concatenate([page.hashes for page in self._pages])
        named = np.flatnonzero(np.concatenate([page.lengths for page in self._pages]))
        hashes = hashes[named]
        tables = hashes >> np.uint64(_TABLE_SHIFT)
        order = np.argsort(tables, kind="stable")
        bounds = np.searchsorted(tables[order], np.arange(_TABLES + 1, dtype=np.uint64))
        for table_number in range(_TABLES):
            mine = order[bounds[table_number] : bounds[table_number + 1]]
            if len(mine):
                self._place(table_number, hashes[mine], named[mine].astype(np.int32))
