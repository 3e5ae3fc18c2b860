"""Aggregates: what a profile keeps of a customer's events, instead of the events."""

from dataclasses import dataclass
from enum import StrEnum

MAX_WINDOW_DAYS = 365


class Operation(StrEnum):
    """How an aggregate takes in an event."""

    COUNT = "count"
    SUM = "sum"
    LAST = "last"
    DECAYED_SUM = "decayed_sum"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How one attribute is kept up to date from events of one type.

    Attributes:
        event: The type of the events.
        operation: What is kept of them.
        property: The number to sum; empty for a count and the last time.
        window_days: Whole days that count, today included, 1 to 365; 0 means all of them.
        half_life_days: After so many days an amount counts half; 0 unless the operation is a decayed sum.
    """

    event: str
    operation: Operation
    property: str = ""
    window_days: int = 0
    half_life_days: float = 0.0
