"""The policy of a catalog, compiled: what the business says beside each offer's own condition. Immutable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.intelligence.caps import FamilySet
from server.intelligence.conditions.condition_set import ConditionSet
from server.intelligence.eligibility import Words
from server.intelligence.meter_limits import MeterLimits
from server.intelligence.quiet import QuietClock

ALWAYS = -1
"""The place of the condition that needs no asking."""


class Boost(NamedTuple):
    """The offers whose expected value counts so many times while a condition holds."""

    rule_id: str
    condition: int
    offers: BoolRow
    factor: float


class Pin(NamedTuple):
    """The offers that take a slot, counted from 0, while a condition holds."""

    rule_id: str
    condition: int
    offers: IntRow
    slot: int


class PurposeOffers(NamedTuple):
    """The offers for customers who granted a purpose, which has a bit; as a bit set."""

    purpose: str
    bit: int
    offers: Words


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """What contacts and meters hold back on one channel; `purpose` is the bit of the channel's own, -1 for none."""

    customer: FamilySet
    household: FamilySet
    meters: MeterLimits
    purpose: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that rules, levers, groups, consents and hours say.

    Attributes:
        worth: Profit times levers, what a conversion counts for; float64 [offers].
        groups: The exclusion group of each offer, -1 for none; int [offers].
        conditions: What `Boost`, `Pin` and cap families ask.
        zone_column: The variable that holds the customer's time zone, -1 for none.
    """

    channels: Mapping[str, ChannelPolicy]
    worth: NDArray[np.float64]
    groups: IntRow
    group_ids: tuple[str, ...]
    conditions: ConditionSet
    boosts: tuple[Boost, ...]
    pins: tuple[Pin, ...]
    quiet: QuietClock
    zone_column: int
    purposes: tuple[PurposeOffers, ...]
    household: str
