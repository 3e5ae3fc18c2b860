"""How much room the meters have now: what budgets and shared caps leave for one more decision.

What a meter has left changes by decisions and outcomes, and by itself when a hold or a window ends. So each answer is
kept for as long as it holds, and a decision asks a few arrays instead of every meter.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from server.domain.attribute import IntRow
from server.input.meters import FOREVER_US, Meters
from server.intelligence.meter_limits import MeterLimit, MeterLimits

_MOST_SLOTS = 100


class ShortLimit(NamedTuple):
    """A limit that one decision may reach, its place, and what is left of it in millionths (never below 0)."""

    number: int
    limit: MeterLimit
    left: int


class MeterRoom:
    """What is left of the limits of one catalog on one channel."""

    def __init__(self, limits: MeterLimits, meters: Meters) -> None:
        self._limits = limits.limits
        self._meters = meters
        count = len(self._limits)
        self._left = np.zeros(count, np.int64)
        self._from_us = np.full(count, FOREVER_US, np.int64)
        self._until_us = np.zeros(count, np.int64)
        # A limit with this much left is reached by no single decision.
        self._enough = np.array([int(limit.amounts.max(initial=0)) * _MOST_SLOTS for limit in self._limits], np.int64)
        self._of_meter: dict[str, list[int]] = {}
        for number, limit in enumerate(self._limits):
            self._of_meter.setdefault(limit.meter, []).append(number)

    def forget(self, changed: Iterable[str]) -> None:
        """Forgets what was known of meters that have changed."""
        for meter in changed:
            for number in self._of_meter.get(meter, ()):
                self._from_us[number] = FOREVER_US

    def short(self, now_us: int) -> list[ShortLimit]:
        """The limits that a decision at a time may reach."""
        if not self._limits:
            return []
        old: IntRow = ((now_us < self._from_us) | (now_us >= self._until_us)).nonzero()[0]
        for number in old.tolist():
            self._ask(number, now_us)
        near = (self._left < self._enough).nonzero()[0]
        return [ShortLimit(number, self._limits[number], max(int(self._left[number]), 0)) for number in near.tolist()]

    def _ask(self, number: int, now_us: int) -> None:
        limit = self._limits[number]
        meter = self._meters.by_id.get(limit.meter)
        if meter is None:
            self._left[number], self._from_us[number], self._until_us[number] = limit.limit, now_us, FOREVER_US
            return
        self._left[number] = limit.limit - meter.used(now_us, limit.window_us)
        self._from_us[number], self._until_us[number] = now_us, meter.next_us(now_us, limit.window_us)
