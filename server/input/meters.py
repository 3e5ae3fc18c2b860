"""Meters: what all customers together have used of a budget, or of a cap that they share.

A decision holds an amount until an outcome commits it or its time is over; what is committed counts for the meter's
window. Amounts are whole millionths, so that sums are exact in whatever order they were made.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.domain.contact import ContactKind, Draw
from server.input.pages import Arrays, SavedPage

_FIRST_ROOM = 16
_SLACK_US = 86_400_000_000
"""How much older than the newest a question may be: what only it would need is kept for so long."""
FOREVER_US = 1 << 62


class SlidingSum:
    """Amounts in the order of their times.

    A question costs one binary search; adding costs moving what is later, which is mostly nothing.
    """

    __slots__ = ("_end", "_gone", "_keys", "_start", "_sums", "_times_us")

    def __init__(self) -> None:
        self._times_us = np.zeros(_FIRST_ROOM, np.int64)
        self._keys = np.zeros(_FIRST_ROOM, np.int64)
        # The sum of everything up to and including each place.
        self._sums = np.zeros(_FIRST_ROOM, np.int64)
        self._start = self._end = 0
        self._gone = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, time_us: int, amount: int, key: int = 0) -> None:
        """Adds an amount; the key finds it again."""
        if self._end == len(self._sums):
            self._make_room()
        place = self._after(time_us)
        for column in (self._times_us, self._keys, self._sums):
            column[place + 1 : self._end + 1] = column[place : self._end]
        before = self._sums[place - 1] if place > self._start else self._gone
        self._times_us[place], self._keys[place], self._sums[place] = time_us, key, before
        self._end += 1
        self._sums[place : self._end] += amount

    def take(self, time_us: int, key: int) -> int:
        """Takes out the amount of a key and a time, and returns it; 0 if it is not there."""
        first = self._start + int(np.searchsorted(self._times_us[self._start : self._end], time_us, "left"))
        same = (self._keys[first : self._after(time_us)] == key).nonzero()[0]
        if not len(same):
            return 0
        place = first + int(same[0])
        before = self._sums[place - 1] if place > self._start else self._gone
        amount = int(self._sums[place] - before)
        for column in (self._times_us, self._keys, self._sums):
            column[place : self._end - 1] = column[place + 1 : self._end]
        self._end -= 1
        self._sums[place : self._end] -= amount
        return amount

    def after(self, time_us: int) -> int:
        """The sum of what is later than a time."""
        if self._end == self._start:
            return 0
        place = self._after(time_us)
        over = int(self._sums[place - 1]) if place > self._start else self._gone
        return int(self._sums[self._end - 1]) - over

    def next_us(self, time_us: int) -> int:
        """The earliest time that is later than one."""
        place = self._after(time_us)
        return int(self._times_us[place]) if place < self._end else FOREVER_US

    def forget(self, time_us: int) -> None:
        """Lets go of what is not later than a time."""
        place = self._after(time_us)
        if place > self._start:
            self._gone = int(self._sums[place - 1])
            self._start = place

    def arrays(self) -> Arrays:
        """Everything that is left, copied."""
        live = slice(self._start, self._end)
        return {"times_us": self._times_us[live].copy(), "keys": self._keys[live].copy(), "amounts": self._amounts()}

    def restore(self, arrays: Arrays) -> None:
        """Fills an empty sum with what `arrays` gave."""
        self._times_us, self._keys = arrays["times_us"], arrays["keys"]
        self._sums = np.cumsum(arrays["amounts"], dtype=np.int64)
        self._end = len(self._sums)

    def _amounts(self) -> NDArray[np.int64]:
        return np.diff(self._sums[self._start : self._end], prepend=self._gone)

    def _after(self, time_us: int) -> int:
        return self._start + int(np.searchsorted(self._times_us[self._start : self._end], time_us, "right"))

    def _make_room(self) -> None:
        """Moves what counts to the front, into arrays of twice its size if they are not half empty."""
        arrays = self.arrays()
        live = self._end - self._start
        room = max(_FIRST_ROOM, 2 * live)
        sums = np.cumsum(arrays["amounts"], dtype=np.int64)
        self._times_us, self._keys, self._sums = (np.zeros(room, np.int64) for _ in range(3))
        self._times_us[:live], self._keys[:live], self._sums[:live] = arrays["times_us"], arrays["keys"], sums
        self._start, self._end, self._gone = 0, live, 0


class Meter:
    """One meter: what is held up to which time, what was committed when, and how much that ever was."""

    __slots__ = ("committed", "ever", "held", "window_us")

    def __init__(self) -> None:
        self.window_us = 0
        self.held = SlidingSum()
        self.committed = SlidingSum()
        self.ever = 0

    def used(self, now_us: int, window_us: int) -> int:
        """What is used at a time, in millionths; a window of 0 has no beginning."""
        return self.held.after(now_us) + (self.committed.after(now_us - window_us) if window_us else self.ever)

    def next_us(self, now_us: int, window_us: int) -> int:
        """When less is used by itself."""
        held_us = self.held.next_us(now_us)
        return min(held_us, self.committed.next_us(now_us - window_us) + window_us) if window_us else held_us

    def hold(self, time_us: int, until_us: int, amount: int, key: int) -> None:
        """Holds an amount from a time until another."""
        self.held.forget(time_us - _SLACK_US)
        self.held.add(until_us, amount, key)

    def commit(self, time_us: int, window_us: int, amount: int) -> None:
        """Counts an amount from a time on, for as long as the longest window that was ever asked for."""
        self.ever += amount
        self.window_us = max(self.window_us, window_us)
        if self.window_us:
            self.committed.forget(time_us - self.window_us - _SLACK_US)
            self.committed.add(time_us, amount)


class Meters:
    """All meters by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Meter] = {}
        self.changed: set[str] = set()
        """Meters that have changed since whoever reads this has emptied it."""

    def decide(self, draws: Sequence[Draw], key: int, time_us: int, until_us: int) -> None:
        """Takes what a decision for an offer draws: holds it, or commits what decisions commit."""
        for draw in draws:
            if draw.on is ContactKind.DECISION:
                self._meter(draw).commit(time_us, draw.window_us, draw.amount)
            else:
                self._meter(draw).hold(time_us, until_us, draw.amount, key)

    def reach(
        self, draws: Sequence[Draw], kinds: Iterable[ContactKind], key: int, *, time_us: int, until_us: int
    ) -> None:
        """Commits what an offer's outcome commits, at the time of the outcome; it was held until another."""
        for draw in draws:
            if draw.on in kinds:
                meter = self._meter(draw)
                meter.held.take(until_us, key)
                meter.commit(time_us, draw.window_us, draw.amount)

    def capture(self) -> Iterator[SavedPage]:
        """Copies of all meters as they are now."""
        pages = []
        for number, (meter_id, meter) in enumerate(self.by_id.items()):
            head = np.array([meter.window_us, meter.ever], np.int64)
            arrays: dict[str, NDArray[Any]] = {"id": np.frombuffer(meter_id.encode(), np.uint8).copy(), "head": head}
            for name, part in (("held", meter.held), ("committed", meter.committed)):
                arrays |= {f"{name}.{column}": values for column, values in part.arrays().items()}
            pages.append(SavedPage("meters", number, arrays))
        return iter(pages)

    def restore(self, pages: Iterable[Arrays]) -> None:
        """Fills empty meters with captured pages."""
        for arrays in pages:
            meter = self.by_id[arrays["id"].tobytes().decode()] = Meter()
            meter.window_us, meter.ever = arrays["head"].tolist()
            for name, part in (("held", meter.held), ("committed", meter.committed)):
                part.restore({column: arrays[f"{name}.{column}"] for column in ("times_us", "keys", "amounts")})

    def _meter(self, draw: Draw) -> Meter:
        self.changed.add(draw.meter)
        meter = self.by_id.get(draw.meter)
        if meter is None:
            meter = self.by_id[draw.meter] = Meter()
        return meter
