"""Pressure: whether there is more to do than can be done in time, and what is done about it. Pure: it is told the time.

A call is strained if it has waited for more than a ninth of its time. A queue that empties again is a burst, which
queues are for. Where most calls of an interval are strained the queue stands, and everybody waits for nothing
(RFC 8289); each such interval raises the level by one, each other lowers it. With the level,

1. rankings are told of less and less time, so that they take lower rungs (and bulk loads are refused),
2. then what nobody waits for is refused (`Tier.LATER`),
3. and queues are kept short: a call is refused at entry that would wait for more than a quarter of its time.

Without pressure it is half, as bursts are no reason to refuse, and the time to send the answer is not known. Who waits
for no longer than a turn is not refused, however little time there is: that is not load.
"""

from enum import IntEnum

INTERVAL_NS = 100_000_000
TURN_NS = 3_000_000
"""How long calls are answered before everything else on the loop has its turn."""

STRAIN_SHIFT = 3
"""Strained: waited for more than 1/8 of what was left then, which is 1/9 of all its time."""

LEVELS = 8
BULK_LEVEL, HURRY_LEVEL, LATER_LEVEL = 1, 2, 4

_WEIGHT_SHIFT = 4
_MOST_STEP = 4


class Tier(IntEnum):
    """Who goes first. The method decides, nothing that a caller can send."""

    CONTROL = 0
    """What operators do, and streams that are slowed instead: never refused."""

    LIVE = 1
    """Somebody waits for it, or it would be lost."""

    LATER = 2
    """It can be done a little later."""

    BULK = 3
    """It can be done at night."""


_REFUSED_FROM = {Tier.CONTROL: LEVELS + 1, Tier.LIVE: LEVELS + 1, Tier.LATER: LATER_LEVEL, Tier.BULK: BULK_LEVEL}


class Pressure:
    """How hard pressed the server is. All methods take a nanosecond or two thousand; times are of one monotonic clock.

    Attributes:
        level: From 0, no pressure, to `LEVELS`.
        cheapest_ns: What a ranking on the lowest rung takes of late: all of it but the model.
    """

    __slots__ = ("_began_ns", "_ranked_ns", "_seen", "_strained", "cheapest_ns", "level")

    def __init__(self) -> None:
        self.level = 0
        self.cheapest_ns = 100_000
        self._ranked_ns = 500_000
        self._began_ns = self._seen = self._strained = 0

    def ranked(self, spent_ns: int, model_ns: int) -> None:
        """Learns what a ranking took, and what its model took of that."""
        self.cheapest_ns = _towards(self.cheapest_ns, spent_ns - model_ns)
        if not self.level:
            self._ranked_ns = _towards(self._ranked_ns, spent_ns)

    def at(self, now_ns: int) -> int:
        """The level at a time."""
        self._end_interval(now_ns)
        return self.level

    def told_ns(self, now_ns: int) -> int | None:
        """What rankings are told to have left at most; None: the truth.

        It begins at twice what a ranking took before there was pressure, where the ladder hardly notices, and is
        halved with each level.
        """
        self._end_interval(now_ns)
        return (4 * self._ranked_ns) >> self.level if self.level else None

    def waited(self, waited_ns: int, left_ns: int, now_ns: int) -> None:
        """Sees a call whose turn has come: how long it has waited, and how much time that leaves."""
        self._end_interval(now_ns)
        self._seen += 1
        self._strained += waited_ns > max(left_ns, 0) >> STRAIN_SHIFT

    def excess_ns(self, tier: Tier, left_ns: int, wait_ns: int, now_ns: int) -> int:
        """By how much a call asks for more than there is; 0 or less: it may go on.

        Args:
            left_ns: Until its deadline.
            wait_ns: How long it would still wait before it can be answered, 0 if it would not.
        """
        self._end_interval(now_ns)
        if self.level >= _REFUSED_FROM[tier]:
            return max(wait_ns, INTERVAL_NS)
        if wait_ns <= TURN_NS or tier is Tier.CONTROL:
            return 0
        return wait_ns + self.cheapest_ns - (left_ns >> (2 if self.level >= HURRY_LEVEL else 1))

    def _end_interval(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._began_ns
        if elapsed_ns < INTERVAL_NS:
            return
        # Of several intervals at once the later ones saw nobody.
        calm = elapsed_ns // INTERVAL_NS
        if 2 * self._strained > self._seen:
            calm -= 2
        self.level = min(max(self.level - calm, 0), LEVELS)
        self._began_ns, self._seen, self._strained = now_ns, 0, 0


def _towards(mean_ns: int, ns: int) -> int:
    """A running mean that one hiccup moves by a bounded step, and several in a row any distance."""
    return mean_ns + ((min(ns, _MOST_STEP * mean_ns) - mean_ns) >> _WEIGHT_SHIFT)
