"""Meters: what all customers together have used of a budget, or of a cap that they share.

A decision holds an amount until an outcome commits it or its time is over; what is committed counts for the meter's
window. Amounts are whole millionths, so that sums are exact in whatever order they were made.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.domain.contact import HOLDING, ContactKind, Draw
from server.input.pages import Arrays, SavedPage

_FIRST_ROOM = 16
_HELD_SLACK_US = 900_000_000
_COMMITTED_SLACK_US = 86_400_000_000
"""How much earlier than the newest a question may be: what only it would need is kept for so long."""

FOREVER_US = 1 << 62
_NEVER_US = -(1 << 62)
_WRAP = 1 << 64
MOST = (1 << 62) - 1
"""Sums stop here, which is more than any limit."""


class SlidingSum:
    """Amounts in the order of their times.

    A question costs one binary search; adding costs moving what is later, which is mostly nothing. Sums run up and may
    wrap around; what is asked for is the difference of two of them, which is exact all the same.
    """

    __slots__ = ("_end", "_gone", "_keys", "_start", "_sums", "_times_us")

    def __init__(self) -> None:
        self._times_us = np.zeros(_FIRST_ROOM, np.int64)
        self._keys = np.zeros(_FIRST_ROOM, np.int64)
        # The sum of everything up to and including each place, on top of what is gone.
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
        self._times_us[place], self._keys[place], self._sums[place] = time_us, key, self._before(place)
        self._end += 1
        self._sums[place : self._end] += amount

    def take(self, time_us: int, key: int) -> int:
        """Takes out the amount of a key and a time, and returns it; 0 if it is not there."""
        first = self._start + int(np.searchsorted(self._times_us[self._start : self._end], time_us, "left"))
        same = (self._keys[first : self._after(time_us)] == key).nonzero()[0]
        if not len(same):
            return 0
        place = first + int(same[0])
        amount = _difference(int(self._sums[place]), self._before(place))
        for column in (self._times_us, self._keys, self._sums):
            column[place : self._end - 1] = column[place + 1 : self._end]
        self._end -= 1
        self._sums[place : self._end] -= amount
        return amount

    def after(self, time_us: int) -> int:
        """The sum of what is later than a time."""
        if self._end == self._start:
            return 0
        return _difference(int(self._sums[self._end - 1]), self._before(self._after(time_us)))

    def next_us(self, time_us: int) -> int:
        """The earliest time that is later than one."""
        place = self._after(time_us)
        return int(self._times_us[place]) if place < self._end else FOREVER_US

    def forget(self, time_us: int) -> tuple[int, int] | None:
        """Lets go of what is not later than a time; returns how much that was, and the latest of it."""
        place = self._after(time_us)
        if place == self._start:
            return None
        gone = _difference(int(self._sums[place - 1]), self._gone)
        self._gone = int(self._sums[place - 1])
        self._start = place
        return gone, int(self._times_us[place - 1])

    def arrays(self) -> Arrays:
        """Everything that is left, copied."""
        live = slice(self._start, self._end)
        amounts = np.diff(self._sums[live], prepend=np.int64(self._gone))
        return {"times_us": self._times_us[live].copy(), "keys": self._keys[live].copy(), "amounts": amounts}

    def restore(self, arrays: Arrays) -> None:
        """Fills an empty sum with what `arrays` gave."""
        self._times_us, self._keys = arrays["times_us"], arrays["keys"]
        self._sums = np.cumsum(arrays["amounts"], dtype=np.int64)
        self._end = len(self._sums)

    def _before(self, place: int) -> int:
        return int(self._sums[place - 1]) if place > self._start else self._gone

    def _after(self, time_us: int) -> int:
        return self._start + int(np.searchsorted(self._times_us[self._start : self._end], time_us, "right"))

    def _make_room(self) -> None:
        """Moves what counts to the front, into arrays of twice its size."""
        arrays, live = self.arrays(), len(self)
        room = max(_FIRST_ROOM, 2 * live)
        sums = np.cumsum(arrays["amounts"], dtype=np.int64)
        self._times_us, self._keys, self._sums = (np.zeros(room, np.int64) for _ in range(3))
        self._times_us[:live], self._keys[:live], self._sums[:live] = arrays["times_us"], arrays["keys"], sums
        self._start, self._end, self._gone = 0, live, 0


def _difference(later: int, earlier: int) -> int:
    """How much was added between two running sums, of which the later one may have wrapped around."""
    return later - earlier if later >= earlier else later - earlier + _WRAP


class Meter:
    """One meter: what is held up to which time, what was committed when, and what else ever was.

    What is committed is kept one by one for as long as the longest window that was asked for. The rest is known as a
    sum: where a window begins before the last of it, as when a budget for ever gets a window, all of it is counted.
    """

    __slots__ = ("committed", "gone", "gone_us", "held", "window_us")

    def __init__(self) -> None:
        self.window_us = 0
        self.held = SlidingSum()
        self.committed = SlidingSum()
        self.gone = 0
        self.gone_us = _NEVER_US

    def used(self, now_us: int, window_us: int) -> int:
        """What is used at a time, in millionths; a window of 0 has no beginning."""
        since_us = now_us - window_us if window_us else _NEVER_US
        used = self.held.after(now_us) + self.committed.after(since_us)
        return used + self.gone if since_us < self.gone_us else used

    def next_us(self, now_us: int, window_us: int) -> int:
        """When less is used by itself."""
        held_us = self.held.next_us(now_us)
        if not window_us:
            return held_us
        since_us = now_us - window_us
        next_us = self.gone_us if since_us < self.gone_us else FOREVER_US
        return min(held_us, min(self.committed.next_us(since_us), next_us) + window_us)

    def hold(self, until_us: int, amount: int, key: int, now_us: int) -> None:
        """Holds an amount until a time. `now_us`: no later than anybody still asks about."""
        # A hold that has ended is not committed in time any more: nothing is lost with it.
        self.held.forget(now_us - _HELD_SLACK_US)
        self.held.add(until_us, amount, key)

    def commit(self, time_us: int, window_us: int, amount: int, now_us: int) -> None:
        """Counts an amount from a time on."""
        self.window_us = max(self.window_us, window_us)
        if not self.window_us:
            self._let_go(amount, time_us)
            return
        gone = self.committed.forget(now_us - self.window_us - min(self.window_us, _COMMITTED_SLACK_US))
        if gone is not None:
            self._let_go(*gone)
        self.committed.add(time_us, amount)

    def _let_go(self, amount: int, time_us: int) -> None:
        self.gone = min(self.gone + amount, MOST)
        self.gone_us = max(self.gone_us, time_us)


class Meters:
    """All meters by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, Meter] = {}
        self.changes = 0
        """How many changes there have been: whoever remembers it can tell whether there was one since."""
        # Each meter's latest change, in their order: as long as there are meters, however many changes there are.
        self._changed: dict[str, int] = {}

    def changed_since(self, changes: int) -> list[str]:
        """The meters that have changed since there were so many changes, the latest first."""
        latest_first = reversed(self._changed.items())
        return [meter for meter, _ in takewhile(lambda change: change[1] > changes, latest_first)]

    def decide(self, draws: Sequence[Draw], key: int, *, time_us: int, until_us: int, now_us: int) -> None:
        """Takes what a decision for an offer draws: commits what decisions commit, holds what it may become.

        Args:
            now_us: The time of the decision, or that of its receipt if that is earlier.
        """
        for draw in draws:
            if draw.on is ContactKind.DECISION:
                self._meter(draw).commit(time_us, draw.window_us, draw.amount, now_us)
            elif draw.on in HOLDING:
                self._meter(draw).hold(until_us, draw.amount, key, now_us)

    def release(self, draws: Sequence[Draw], kinds: Iterable[ContactKind], key: int, until_us: int) -> None:
        """Releases what a decision for an offer held until a time for these kinds, if it did."""
        for draw in draws:
            if draw.on in kinds:
                self._meter(draw).held.take(until_us, key)

    def reach(self, draws: Sequence[Draw], kinds: Iterable[ContactKind], *, time_us: int, now_us: int) -> None:
        """Commits what an offer's outcome commits at its time. `now_us`: as for `decide`."""
        for draw in draws:
            if draw.on in kinds:
                self._meter(draw).commit(time_us, draw.window_us, draw.amount, now_us)

    def capture(self) -> Iterator[SavedPage]:
        """Copies of all meters as they are now."""
        pages = []
        for number, (meter_id, meter) in enumerate(self.by_id.items()):
            head = np.array([meter.window_us, meter.gone, meter.gone_us], np.int64)
            arrays: dict[str, NDArray[Any]] = {"id": np.frombuffer(meter_id.encode(), np.uint8).copy(), "head": head}
            for name, part in (("held", meter.held), ("committed", meter.committed)):
                arrays |= {f"{name}.{column}": values for column, values in part.arrays().items()}
            pages.append(SavedPage("meters", number, arrays))
        return iter(pages)

    def restore(self, pages: Iterable[Arrays]) -> None:
        """Fills empty meters with captured pages."""
        for arrays in pages:
            meter = self.by_id[arrays["id"].tobytes().decode()] = Meter()
            meter.window_us, meter.gone, meter.gone_us = arrays["head"].tolist()
            for name, part in (("held", meter.held), ("committed", meter.committed)):
                part.restore({column: arrays[f"{name}.{column}"] for column in ("times_us", "keys", "amounts")})

    def _meter(self, draw: Draw) -> Meter:
        self.changes += 1
        self._changed.pop(draw.meter, None)
        self._changed[draw.meter] = self.changes
        meter = self.by_id.get(draw.meter)
        if meter is None:
            meter = self.by_id[draw.meter] = Meter()
        return meter
