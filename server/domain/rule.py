"""Rules: what the business says of many offers at once, over the head of the model."""

from dataclasses import dataclass
from datetime import datetime

from server.domain.cap import Cap


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the offers that the condition `offers` takes (over `offer.*`; empty: all), while `when` holds.

    Exactly one effect is set. `exclude`: the offers are out unless `when` is definitely false. `boost`: their expected
    value counts so many times. `cap`: they get one more cap, whatever `when` says unless it is definitely false.
    `pin`: they take this slot, counted from 1.
    """

    id: str
    when: str = ""
    offers: str = ""
    exclude: bool = False
    boost: float | None = None
    cap: Cap | None = None
    pin: int | None = None


@dataclass(frozen=True, slots=True)
class Lever:
    """A multiplier of the expected value of some offers, with who set it, when, and why."""

    id: str
    multiplier: float
    offers: str = ""
    by: str = ""
    at: datetime | None = None
    reason: str = ""
