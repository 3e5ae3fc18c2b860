"""Day buckets: what sliding windows need to remember of events, an amount for each day and cell that had any.

A row has as many buckets as its customer had days with events, most have none; a bucket takes 12 bytes. A run that
fills up first lets go of the days that no window reaches any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import LARGEST, IntRow
from server.input.pages import Arrays, SavedPage
from server.input.runs import Runs

_LARGEST_RUN = 1 << 18

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


class DayBuckets:
    """The day buckets of every row."""

    def __init__(self) -> None:
        self._runs = Runs("buckets", {"keys": np.int64, "amounts": np.float32}, _LARGEST_RUN)

    def read(self, row: int) -> tuple[Keys, Amounts] | None:
        """The keys and amounts of a row's buckets, None if it has none. Views: do not keep or change them."""
        return self._runs.read(row)  # type: ignore[return-value]  # The layout has these two columns.

    def gather(self, rows: IntRow) -> Gathered:
        """The buckets of many rows, copied; a row's come together and in the order in which `read` gives them."""
        owners, sizes, (keys, amounts) = self._runs.gather(rows)
        return Gathered(owners, sizes, keys, amounts)

    def add(self, row: int, key: int, amount: float, windows: NDArray[np.int64], today: int) -> None:
        """Adds an amount to a bucket.

        Args:
            windows: int64 [columns], how many days each column's window has; what is older may be let go.
            today: The day on which the event was received: a date far ahead lets go of nothing.
        """
        buckets = self._runs.writable(row)
        if buckets is None:
            self._runs.assign(row, (key, amount), 1)
            return
        keys, amounts = buckets
        found = np.flatnonzero(keys == key)
        if len(found):
            total = amounts.item(int(found[0])) + amount
            amounts[found[0]] = min(max(total, -LARGEST), LARGEST)
        elif not self._runs.append(row, (key, amount), 1):
            live = live_buckets(keys, windows, today)
            self.assign(row, np.append(keys[live], key), np.append(amounts[live], np.float32(amount)))

    def assign(self, row: int, keys: Keys, amounts: Amounts) -> None:
        """Gives a row these buckets instead of those it has, at most 262,144: the latest days of more."""
        if len(keys) > _LARGEST_RUN:
            latest = np.argsort(keys, kind="stable")[-_LARGEST_RUN:]
            keys, amounts = keys[latest], amounts[latest]
        self._runs.assign(row, (keys, amounts), len(keys))

    def clear(self, row: int) -> None:
        """Forgets the buckets of a row."""
        self._runs.clear(row)

    def relayout(self, targets: Mapping[int, int]) -> None:
        """Moves buckets to other columns, by column; buckets of columns without a target are forgotten."""
        lookup = np.full(1 << 16, -1, np.int64)
        lookup[list(targets)] = list(targets.values())
        for row in list(self._runs.rows()):
            buckets = self.read(row)
            assert buckets is not None
            keys, amounts = buckets[0].copy(), buckets[1].copy()
            columns = lookup[columns_of_keys(keys)]
            kept = columns >= 0
            self.assign(row, (days_of_keys(keys[kept]) << 16) | columns[kept], amounts[kept])

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        return self._runs.capture()

    def restore(self, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills empty buckets with captured pages, by name."""
        self._runs.restore(pages)


def live_buckets(keys: Keys, windows: NDArray[np.int64], today: int) -> NDArray[np.bool_]:
    """Which buckets a window still reaches, on the newest day there is or today, whichever is earlier."""
    days = days_of_keys(keys)
    now = min(int(days.max()), today) if len(days) else today
    live: NDArray[np.bool_] = days > now - windows[columns_of_keys(keys)]
    return live
