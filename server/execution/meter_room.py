"""How much room the meters have now: what budgets and shared caps leave for one more decision.

What a meter has left changes by decisions and outcomes, and by itself when a hold or a window ends. So each answer is
kept for as long as it holds, and a decision asks a few arrays instead of every meter.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.input.meters import FOREVER_US, MOST, Meters
from server.intelligence.meter_limits import MeterLimit, MeterLimits

_NOBODY = -1
_NOTHING = np.empty(0, np.intp)


class ShortLimit(NamedTuple):
    """A limit that one decision may reach, its place, and what is left of it in millionths (never below 0)."""

    number: int
    limit: MeterLimit
    left: int


class Shortage(NamedTuple):
    """What is short: offers for which there is nothing left, the places of their limits, and limits of several offers.

    The offers are those of limits of a single offer: of these, in a catalog with a cap for each, there may be many.
    """

    offers: IntRow
    numbers: IntRow
    limits: Sequence[ShortLimit]


NO_SHORTAGE = Shortage(_NOTHING, _NOTHING, ())


class MeterRoom:
    """What is left of the limits of one catalog on one channel."""

    def __init__(self, limits: MeterLimits, meters: Meters) -> None:
        self._limits = limits.limits
        self._meters = meters
        count = len(self._limits)
        self._left = np.zeros(count, np.int64)
        self._from_us = np.full(count, FOREVER_US, np.int64)
        self._until_us = np.zeros(count, np.int64)
        self._enough: dict[int, NDArray[np.int64]] = {}
        self._only = np.array([_only(limit) for limit in self._limits], np.intp)
        self._of_meter: dict[str, list[int]] = {}
        for number, limit in enumerate(self._limits):
            self._of_meter.setdefault(limit.meter, []).append(number)

    def forget(self, changed: Iterable[str]) -> None:
        """Forgets what was known of meters that have changed."""
        for meter in changed:
            for number in self._of_meter.get(meter, ()):
                self._from_us[number] = FOREVER_US

    def short(self, now_us: int, slots: int) -> Shortage:
        """What a decision at a time for so many slots may not have, or not have all of."""
        if not self._limits:
            return NO_SHORTAGE
        old: IntRow = ((now_us < self._from_us) | (now_us >= self._until_us)).nonzero()[0]
        for number in old.tolist():
            self._ask(number, now_us)
        near: IntRow = (self._left < self._enough_for(slots)).nonzero()[0]
        if not len(near):
            return NO_SHORTAGE
        offers = self._only.take(near)
        single = offers >= 0
        several = [
            ShortLimit(number, self._limits[number], max(int(self._left[number]), 0))
            for number in near[~single].tolist()
        ]
        return Shortage(offers[single], near[single], several)

    def _enough_for(self, slots: int) -> NDArray[np.int64]:
        """With so much left of each limit, no decision for so many slots reaches it."""
        # A power of two that is no smaller, as there are few of them.
        most = 1 << (slots - 1).bit_length() if slots else 0
        enough = self._enough.get(most)
        if enough is None:
            amounts = [_enough(limit, most) for limit in self._limits]
            enough = self._enough[most] = np.array(amounts, np.int64)
        return enough

    def _ask(self, number: int, now_us: int) -> None:
        limit = self._limits[number]
        meter = self._meters.by_id.get(limit.meter)
        if meter is None:
            self._left[number], self._from_us[number], self._until_us[number] = limit.limit, now_us, FOREVER_US
            return
        self._left[number] = max(limit.limit - meter.used(now_us, limit.window_us), -MOST)
        self._from_us[number], self._until_us[number] = now_us, meter.next_us(now_us, limit.window_us)


def _enough(limit: MeterLimit, slots: int) -> int:
    """The most that one decision takes; none has an offer twice."""
    amounts: list[int] = sorted(limit.amounts.tolist(), reverse=True)
    return min(sum(amounts[: slots if limit.reserved else 1]), MOST)


def _only(limit: MeterLimit) -> int:
    """The one offer that a limit is for; `_NOBODY` if it is for several."""
    return int(limit.offers[0]) if len(limit.offers) == 1 else _NOBODY
