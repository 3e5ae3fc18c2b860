"""What is noted of a call that is sampled, while it lasts: plain numbers, which become spans in another thread."""

from collections.abc import Sequence
from typing import NamedTuple


class DecisionNote(NamedTuple):
    """One decision of a call: when each of its stages began, the end of the last one, and how it went.

    `marks_ns` are of `time.perf_counter_ns`, one more than there are stages; empty if no stage ran.
    """

    stages: Sequence[str]
    marks_ns: Sequence[int]
    result: str
    rung: str
    model: str


class Trace:
    """A sampled call.

    Attributes:
        trace_id: Of the caller's trace, or a new one.
        parent_id: The caller's span, 0 if there is none.
        decisions: The decisions that were made for it.
    """

    __slots__ = ("decisions", "parent_id", "trace_id")

    def __init__(self, trace_id: int, parent_id: int) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.decisions: list[DecisionNote] = []


class FinishedCall(NamedTuple):
    """A sampled call that has ended: what its spans are made of. Times are nanoseconds since 1970."""

    trace: Trace
    path: str
    code: int
    reason: str
    began_ns: int
    ended_ns: int
    clock_offset_ns: int
    """What to add to `time.perf_counter_ns`."""
