"""Admission: refuses calls at entry that could only be answered late, for less than it would cost to answer them.

The arithmetic is `execution/pressure.py`; this says who is asked, in which order, and what a refusal looks like.
"""

from collections.abc import Callable, Mapping
from random import random
from time import perf_counter_ns

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.pressure import LEVELS, TURN_NS, Pressure, Tier
from server.telemetry.heartbeat import Heartbeat
from server.wire.call import Call

TIERS: Mapping[str, Tier] = {
    "RankOffers": Tier.LIVE,
    "ReportOutcomes": Tier.LIVE,
    "ApplyProfileDeltas": Tier.LIVE,
    # Slowed by its flow control; a refused stream would only be opened again.
    "StreamProfileDeltas": Tier.CONTROL,
    "ApplyCatalog": Tier.CONTROL,
    "EraseProfile": Tier.CONTROL,
    "LoadProfiles": Tier.BULK,
}
"""By the method's name; what is not here is `LATER`."""

SHORTEST_RETRY_MS, LONGEST_RETRY_MS = 20, 5_000
_RETRY_MS = tuple(round(SHORTEST_RETRY_MS * 2 ** (step / 4)) for step in range(33))
"""The delays that callers are told: few different ones, so that their statuses can be kept."""

_MESSAGE = "there is more to do than can be done in time; see RetryInfo"


def tier_of(path: str) -> Tier:
    """The tier of the method at a path."""
    return TIERS.get(path.rpartition("/")[2], Tier.LATER)


class Admission:
    """A guard. On a transport that has a queue of its own, `entering` is asked before a call is put into it."""

    def __init__(
        self,
        pressure: Pressure,
        heartbeat: Heartbeat,
        budget_s: float,
        *,
        clock_ns: Callable[[], int] = perf_counter_ns,
        chance: Callable[[], float] = random,
    ) -> None:
        """Refuses nothing yet.

        Args:
            budget_s: What a call without deadline is taken to have.
            chance: A random number from 0 to 1 for each refusal, so that those refused together do not return together.
        """
        self._pressure = pressure
        self._heartbeat = heartbeat
        self._budget_s = budget_s
        self._clock_ns = clock_ns
        self._chance = chance
        self._tiers: dict[str, Tier] = {}

    def __call__(self, path: str, call: Call) -> None:
        """See `Guard`: the call's turn has come.

        Raises:
            OpportuneError: OVERLOADED.
        """
        tier = self._tiers.get(path)
        if tier is None:
            tier = self._tiers[path] = tier_of(path)
        now_ns, left_ns = self._clock_ns(), self._left_ns(call.time_left_s)
        # The queue of a transport that does not know how long a call has waited is the loop: its lag is the wait.
        if call.waited_s is None:
            waited_ns = wait_ns = self._heartbeat.lag_ns
        else:
            waited_ns, wait_ns = int(call.waited_s * 1e9), 0
        if tier is not Tier.CONTROL:
            self._pressure.waited(waited_ns, left_ns, now_ns)
        excess_ns = self._pressure.excess_ns(tier, left_ns, wait_ns, now_ns)
        if excess_ns <= 0 and waited_ns > TURN_NS and tier is not Tier.CONTROL:
            # It was let in and has waited: it is only refused if it cannot be answered in the turn that it has now.
            excess_ns = TURN_NS + self._pressure.cheapest_ns - left_ns
        if excess_ns > 0:
            raise self._refusal(excess_ns)

    def entering(self, tier: Tier, time_left_s: float | None, wait_ns: int) -> OpportuneError | None:
        """The refusal of a call that would wait for so long, None if it may."""
        excess_ns = self._pressure.excess_ns(tier, self._left_ns(time_left_s), wait_ns, self._clock_ns())
        return self._refusal(excess_ns) if excess_ns > 0 else None

    def _left_ns(self, time_left_s: float | None) -> int:
        return int((self._budget_s if time_left_s is None else time_left_s) * 1e9)

    def _refusal(self, excess_ns: int) -> OpportuneError:
        return OpportuneError(
            ErrorReason.OVERLOADED,
            _MESSAGE,
            retry_after_ms=retry_ms(excess_ns, self._pressure.level, self._chance()),
        )


def retry_ms(excess_ns: int, level: int, chance: float) -> int:
    """After how long to try again: the excess, at least 20 ms, doubled with every second level, times 1/2 to 3/2."""
    wanted_ms = max(excess_ns / 1e6, SHORTEST_RETRY_MS) * 2.0 ** (min(level, LEVELS) / 2) * (0.5 + chance)
    return next((step for step in _RETRY_MS if step >= wanted_ms), LONGEST_RETRY_MS)
