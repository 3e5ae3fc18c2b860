"""The calls that wait for their turn: rankings before what is less urgent, and each in the order of its coming."""

from collections import OrderedDict
from typing import NamedTuple

from server.execution.pressure import Tier
from server.wire.call import Metadata

FIRST_CALL_NS = 200_000
"""What a call is assumed to take until some have been answered."""

_WEIGHT_SHIFT = 3
_MOST_STEP = 8


class WaitingCall(NamedTuple):
    """A call as it was taken in, at `arrived_ns`."""

    arrived_ns: int
    call_id: int
    method: int
    payload: bytes
    metadata: Metadata
    peer: str
    time_left_s: float | None


class CallQueue:
    """Two lines of calls by their ids, and what a call takes of late: `call_ns`, a running mean.

    What the loop does between turns is left out. Part of it is refusing, so that with it fewer answers would make for
    longer estimates, and those for more refusals.
    """

    __slots__ = ("_later", "_soon", "call_ns")

    def __init__(self) -> None:
        # A plain dict looks for its first entry among all those that were taken before.
        self._soon: OrderedDict[int, WaitingCall] = OrderedDict()
        self._later: OrderedDict[int, WaitingCall] = OrderedDict()
        self.call_ns = FIRST_CALL_NS

    def __len__(self) -> int:
        return len(self._soon) + len(self._later)

    def wait_ns(self, tier: Tier) -> int:
        """How long a call that comes now would wait."""
        return (len(self._soon) if tier <= Tier.LIVE else len(self)) * self.call_ns

    def put(self, waiting: WaitingCall, tier: Tier) -> None:
        """Has a call wait."""
        (self._soon if tier <= Tier.LIVE else self._later)[waiting.call_id] = waiting

    def drop(self, call_id: int) -> None:
        """The caller of a call has left; one that does not wait is none of this."""
        if self._soon.pop(call_id, None) is None:
            self._later.pop(call_id, None)

    def next(self) -> WaitingCall | None:
        """Takes the call whose turn it is, None if none waits."""
        line = self._soon or self._later
        return line.popitem(last=False)[1] if line else None

    def answered(self, calls: int, spent_ns: int) -> None:
        """Learns from a turn that has answered so many calls, at least one."""
        ns = spent_ns // calls
        self.call_ns += (min(ns, _MOST_STEP * self.call_ns) - self.call_ns) >> _WEIGHT_SHIFT
