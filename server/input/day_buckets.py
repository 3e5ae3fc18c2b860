"""Day buckets: what sliding windows need to remember of events, an amount for each day and cell that had any.

A row has as many buckets as its customer had days with events, most have none. They are kept in runs of 8, 16, 32 … of
pools, 12 bytes each, and a run that fills up first lets go of the days that no window reaches any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import LARGEST, IntRow
from server.input.pages import PAGE_BITS, PAGE_MASK, PAGE_ROWS, Arrays, Pages, SavedPage, by_page, view

_CLASSES = 16
_CLASS_SHIFT = 27
_SLOT_MASK = (1 << _CLASS_SHIFT) - 1
_PAGE_BUCKETS = 16_384
_NONE = -1
_SIZES = 8 << np.arange(_CLASSES, dtype=np.intp)
_PER_PAGE = np.maximum(_PAGE_BUCKETS // _SIZES, 1)
_AMOUNT_BYTES = 4
"""A key takes twice as many."""

Keys = NDArray[np.int64]
Amounts = NDArray[np.float32]


def bucket_key(day: int, column: int) -> int:
    """The key of a day since 2020 and a column below 65,536."""
    return day << 16 | column


def days_of_keys(keys: Keys) -> Keys:
    """The day of each key."""
    return keys >> 16


def columns_of_keys(keys: Keys) -> Keys:
    """The column of each key."""
    return keys & 0xFFFF


class Gathered(NamedTuple):
    """The buckets of many rows, row by row.

    Attributes:
        owners: The places of the rows that have buckets, among the rows that were asked for: int [owners].
        sizes: How many keys and amounts each owner has; the last of them may be no buckets, but amounts of 0.
        keys, amounts: int64 and float32 [sum of sizes].
    """

    owners: IntRow
    sizes: IntRow
    keys: Keys
    amounts: Amounts


_NOTHING = Gathered(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0, np.float32))


class _RowPage:
    """Where each row's run is: its size class and its place among the runs of that size."""

    __slots__ = ("runs", "runs_view")

    def __init__(self, arrays: Arrays | None = None) -> None:
        self.runs = np.full(PAGE_ROWS, _NONE, np.int32) if arrays is None else arrays["runs"]
        self.runs_view = view(self.runs)

    def arrays(self) -> Arrays:
        return {"runs": self.runs}


class _RunPage:
    """Runs of one size: how many buckets each holds, their keys and their amounts, which are 0 behind those."""

    __slots__ = ("amount_bytes", "amounts", "key_bytes", "keys", "used")

    def __init__(self, used: NDArray[np.int32], keys: Keys, amounts: Amounts) -> None:
        self.used, self.keys, self.amounts = used, keys, amounts
        self.key_bytes, self.amount_bytes = view(keys).cast("B"), view(amounts).cast("B")

    def arrays(self) -> Arrays:
        return {"used": self.used, "keys": self.keys, "amounts": self.amounts}


class _Runs:
    """All runs of one size."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.per_page = max(_PAGE_BUCKETS // size, 1)
        self.pages: Pages[_RunPage] = Pages(name, self._blank, self.per_page)
        self.end = 0
        self.free: list[int] = []

    def take(self) -> int:
        if self.free:
            return self.free.pop()
        self.end += 1
        self.pages.grow_to(self.end)
        return self.end - 1

    def _blank(self) -> _RunPage:
        shape = (self.per_page, self.size)
        return _RunPage(np.zeros(self.per_page, np.int32), np.zeros(shape, np.int64), np.zeros(shape, np.float32))


class DayBuckets:
    """The day buckets of every row."""

    def __init__(self) -> None:
        self._rows: Pages[_RowPage] = Pages("buckets.rows", _RowPage)
        self._runs = [_Runs(size, f"buckets.{size}") for size in _SIZES.tolist()]

    def read(self, row: int) -> tuple[Keys, Amounts] | None:
        """The keys and amounts of a row's buckets, None if it has none. Views: do not keep or change them."""
        run = self._run(row)
        if run < 0:
            return None
        runs, slot = self._runs[run >> _CLASS_SHIFT], run & _SLOT_MASK
        page, place = runs.pages[slot // runs.per_page], slot % runs.per_page
        used = page.used.item(place)
        return page.keys[place, :used], page.amounts[place, :used]

    def gather(self, rows: IntRow) -> Gathered:
        """The buckets of many rows, copied; a row's come together and in the order in which `read` gives them.

        Cost: 0.5 us for each row that has any, as the runs of neighbours are anywhere; nothing for the others.
        """
        runs = self._runs_of(rows)
        owners = np.flatnonzero(runs >= 0)
        if not len(owners):
            return _NOTHING
        runs = runs[owners]
        numbers, slots = runs >> _CLASS_SHIFT, runs & _SLOT_MASK
        pages: list[_RunPage] = []
        firsts = []
        for pool in self._runs:
            firsts.append(len(pages))
            pages += pool.pages
        sizes, per_page = _SIZES[numbers], _PER_PAGE[numbers]
        places = (np.array(firsts)[numbers] + slots // per_page).tolist()
        starts = slots % per_page * sizes * _AMOUNT_BYTES
        ends = starts + sizes * _AMOUNT_BYTES
        # Slices of bytes are joined in a third of the time that it takes to concatenate arrays.
        amounts = b"".join([
            pages[place].amount_bytes[start:end]
            for place, start, end in zip(places, starts.tolist(), ends.tolist(), strict=True)
        ])  # fmt: skip
        keys = b"".join([
            pages[place].key_bytes[start:end]
            for place, start, end in zip(places, (starts * 2).tolist(), (ends * 2).tolist(), strict=True)
        ])  # fmt: skip
        return Gathered(owners, sizes, np.frombuffer(keys, np.int64), np.frombuffer(amounts, np.float32))

    def add(self, row: int, key: int, amount: float, windows: NDArray[np.int64], today: int) -> None:
        """Adds an amount to a bucket.

        Args:
            windows: int64 [columns], how many days each column's window has; what is older may be let go.
            today: The day on which the event was received: a date far ahead lets go of nothing.
        """
        run = self._run(row)
        if run < 0:
            self.assign(row, np.array([key]), np.array([amount], np.float32))
            return
        runs, slot = self._runs[run >> _CLASS_SHIFT], run & _SLOT_MASK
        page, place = runs.pages.writable(slot // runs.per_page), slot % runs.per_page
        used = page.used.item(place)
        found = np.flatnonzero(page.keys[place, :used] == key)
        if len(found):
            total = page.amounts.item(place, int(found[0])) + amount
            page.amounts[place, found[0]] = min(max(total, -LARGEST), LARGEST)
        elif used < runs.size:
            page.keys[place, used], page.amounts[place, used] = key, amount
            page.used[place] = used + 1
        else:
            keys, amounts = page.keys[place].copy(), page.amounts[place].copy()
            live = live_buckets(keys, windows, today)
            self.assign(row, np.append(keys[live], key), np.append(amounts[live], np.float32(amount)))

    def assign(self, row: int, keys: Keys, amounts: Amounts) -> None:
        """Gives a row these buckets instead of those it has, at most 262,144: the latest days of more."""
        self.clear(row)
        if not len(keys):
            return
        largest = self._runs[-1].size
        if len(keys) > largest:
            latest = np.argsort(keys, kind="stable")[-largest:]
            keys, amounts = keys[latest], amounts[latest]
        number = max((len(keys) - 1).bit_length() - 3, 0)
        runs = self._runs[number]
        slot = runs.take()
        page, place = runs.pages.writable(slot // runs.per_page), slot % runs.per_page
        page.keys[place, : len(keys)], page.amounts[place, : len(keys)] = keys, amounts
        page.used[place] = len(keys)
        self._rows.grow_to(row + 1)
        self._rows.writable(row >> PAGE_BITS).runs_view[row & PAGE_MASK] = number << _CLASS_SHIFT | slot

    def clear(self, row: int) -> None:
        """Forgets the buckets of a row."""
        run = self._run(row)
        if run < 0:
            return
        runs, slot = self._runs[run >> _CLASS_SHIFT], run & _SLOT_MASK
        page, place = runs.pages.writable(slot // runs.per_page), slot % runs.per_page
        page.used[place], page.keys[place], page.amounts[place] = 0, 0, 0
        runs.free.append(slot)
        self._rows.writable(row >> PAGE_BITS).runs_view[row & PAGE_MASK] = _NONE

    def _run(self, row: int) -> int:
        """The run of a row, -1 if it has none; pages are made when one of their rows gets one."""
        number = row >> PAGE_BITS
        return _NONE if number >= len(self._rows) else self._rows[number].runs_view[row & PAGE_MASK]

    def _runs_of(self, rows: IntRow) -> NDArray[np.int32]:
        """The runs of rows, -1 where there is none: int32 [rows]."""
        runs = np.full(len(rows), _NONE, np.int32)
        for number, mine, places in by_page(rows):
            if number < len(self._rows):
                runs[mine] = self._rows[number].runs[places]
        return runs

    def relayout(self, targets: Mapping[int, int]) -> None:
        """Moves buckets to other columns, by column; buckets of columns without a target are forgotten."""
        lookup = np.full(1 << 16, _NONE, np.int64)
        lookup[list(targets)] = list(targets.values())
        for number, page in enumerate(self._rows):
            for place in np.flatnonzero(page.runs >= 0).tolist():
                row = number * PAGE_ROWS + place
                buckets = self.read(row)
                assert buckets is not None
                keys, amounts = buckets[0].copy(), buckets[1].copy()
                columns = lookup[columns_of_keys(keys)]
                kept = columns >= 0
                self.assign(row, (days_of_keys(keys[kept]) << 16) | columns[kept], amounts[kept])

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        captures = [self._rows.capture(), *(runs.pages.capture() for runs in self._runs)]
        return (page for pages in captures for page in pages)

    def restore(self, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills empty buckets with captured pages, by name."""
        for arrays in pages.get("buckets.rows", ()):
            self._rows.restore(_RowPage(arrays))
        taken = np.concatenate([page.runs[page.runs >= 0] for page in self._rows] or [np.empty(0, np.int32)])
        for number, runs in enumerate(self._runs):
            for arrays in pages.get(runs.pages.name, ()):
                runs.pages.restore(_RunPage(arrays["used"], arrays["keys"], arrays["amounts"]))
            slots = taken[taken >> _CLASS_SHIFT == number] & _SLOT_MASK
            runs.end = int(slots.max()) + 1 if len(slots) else 0
            runs.free = np.setdiff1d(np.arange(runs.end), slots).tolist()


def live_buckets(keys: Keys, windows: NDArray[np.int64], today: int) -> NDArray[np.bool_]:
    """Which buckets a window still reaches, on the newest day there is or today, whichever is earlier."""
    days = days_of_keys(keys)
    now = min(int(days.max()), today) if len(days) else today
    live: NDArray[np.bool_] = days > now - windows[columns_of_keys(keys)]
    return live
