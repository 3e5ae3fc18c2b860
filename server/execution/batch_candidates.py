"""The candidates of a crowd: the stages that find what each customer may be shown, as `candidates.py` does for one.

Conditions, schedules, consents and quiet hours are arrays over all customers. Caps are counted customer by customer,
for those who have had contacts; whoever had none is held back by nothing, and alike.
"""

import math
from collections.abc import Iterator

import numpy as np

from server.domain.attribute import BoolRow, IntRow
from server.execution.contact_rules import contact_columns, with_household
from server.execution.crowd import Crowd
from server.execution.policy import Policy
from server.input.keys import key_name
from server.intelligence.caps import NOT_COUNTED, CapCounter, Capped, ContactColumns, FamilySet
from server.intelligence.mass_arbitration import MassLimit
from server.intelligence.meter_limits import MeterLimit


def find_eligible(crowd: Crowd) -> None:
    """The offers that creative, schedule, consent, quiet hours and conditions allow."""
    occasion = crowd.occasion
    catalog, now_days = occasion.catalog, occasion.now_days
    crowd.conditions = catalog.policy.conditions.holds(crowd.variables, now_days)
    allowed = catalog.eligibility.eligible_many(catalog.eligibility.truth(crowd.variables, now_days))
    allowed &= _flags(occasion.creatives.standing(now_days), len(catalog.offers))
    for purpose in catalog.policy.purposes:
        refused = (crowd.granted >> np.uint32(purpose.bit) & 1) == 0
        allowed &= ~(refused[:, None] & _flags(purpose.offers, len(catalog.offers)))
    allowed[_silent(crowd)] = False
    crowd.allowed = allowed


def hold_back(crowd: Crowd) -> None:
    """Takes out what caps and budgets hold back, and notes what room they leave for the decisions themselves."""
    rules, now_us = crowd.occasion.rules, crowd.occasion.now_us
    if len(rules.policy.customer):
        _count(crowd, rules.policy.customer, rules.customer, dict(_own(crowd)))
    if len(rules.policy.household):
        _count(crowd, rules.policy.household, rules.household, dict(_of_households(crowd)))
    shortage = rules.meters.short(now_us, crowd.occasion.most.slots)
    crowd.allowed[:, shortage.offers] = False
    for _, limit, left in shortage.limits:
        crowd.allowed[:, limit.offers[limit.carriers & (limit.amounts > left)]] = False
        if limit.reserved:
            crowd.limits.append(_mass_limit(limit, left, len(crowd.occasion.catalog.offers)))


def _mass_limit(limit: MeterLimit, left: int, size: int) -> MassLimit:
    """What is left of a meter, as a limit of each decision."""
    amounts, carriers = np.zeros(size), np.zeros(size, np.bool_)
    amounts[limit.offers], carriers[limit.offers] = limit.amounts, limit.carriers
    return MassLimit(np.where(amounts > 0, 0, -1), np.array([float(left)]), amounts, carriers)


def _flags(words: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], size: int) -> BoolRow:
    """A bit set of offers as bool [offers]."""
    return np.unpackbits(words.view(np.uint8), count=size, bitorder="little").view(np.bool_)


def _silent(crowd: Crowd) -> BoolRow:
    """Who may not be spoken to on the channel at all: bool [customers]."""
    policy, channel = crowd.occasion.catalog.policy, crowd.occasion.channel
    silent = np.zeros(len(crowd), np.bool_)
    purpose = policy.channels[channel].purpose
    if purpose >= 0:
        silent |= (crowd.granted >> np.uint32(purpose) & 1) == 0
    if policy.quiet:
        silent |= _quiet(crowd, policy)
    return silent


def _quiet(crowd: Crowd, policy: Policy) -> BoolRow:
    """Where it is quiet now: asked once for each time zone."""
    channel, now_us = crowd.occasion.channel, crowd.occasion.now_us
    if policy.zone_column < 0:
        return np.full(len(crowd), policy.quiet.is_quiet(channel, math.nan, now_us))
    zones, places = np.unique(crowd.variables[policy.zone_column], return_inverse=True)
    quiet = [policy.quiet.is_quiet(channel, float(zone), now_us) for zone in zones.tolist()]
    return np.array(quiet, np.bool_)[places]


def _own(crowd: Crowd) -> Iterator[tuple[int, ContactColumns]]:
    """The contacts of customers, by their places."""
    for place, events in crowd.events.items():
        columns = contact_columns(events)
        assert columns is not None
        yield place, columns


def _of_households(crowd: Crowd) -> Iterator[tuple[int, ContactColumns]]:
    """The contacts of customers' households, by the customers' places; one without a household is a household."""
    rules = crowd.occasion.snapshot.rules
    for place, household in enumerate(_households(crowd)):
        shared = rules.household_events(household) if household else None
        columns = contact_columns(with_household(shared, crowd.events.get(place)))
        if columns is not None:
            yield place, columns


def _households(crowd: Crowd) -> list[str]:
    """The key of each customer's household, empty for none."""
    catalog = crowd.occasion.catalog
    if not catalog.policy.household:
        return [""] * len(crowd)
    first = catalog.customer.columns[catalog.policy.household]
    return [key_name(words) for words in crowd.variables[first : first + 3].T.tolist()]


def _count(crowd: Crowd, families: FamilySet, counter: CapCounter, contacts: dict[int, ContactColumns]) -> None:
    """What the caps of these families hold back, by the contacts of those who had any."""
    ledger = _Rooms(families, len(crowd))
    now_us, most = crowd.occasion.now_us, crowd.occasion.most
    for place, columns in contacts.items():
        lifting = crowd.conditions[:, place]
        capped = counter.judge(counter.count(columns, now_us, lifting), most, lifting)
        crowd.allowed[place, capped.offers] = False
        ledger.note(np.array([place]), capped)
    others = np.setdiff1d(np.arange(len(crowd)), np.fromiter(contacts, np.intp, len(contacts)))
    for alike in _alike(families, crowd.conditions, others):
        lifting = crowd.conditions[:, alike[0]]
        ledger.note(alike, counter.judge(NOT_COUNTED, most, lifting))
    crowd.limits += ledger.limits()


def _alike(families: FamilySet, conditions: BoolRow, customers: IntRow) -> Iterator[IntRow]:
    """Customers without contacts, together with those for whom the same caps are lifted."""
    asked = sorted({family.condition for family in families.families if family.condition >= 0})
    if not asked or not len(customers):
        yield from [customers] if len(customers) else []
        return
    _, patterns = np.unique(conditions[asked][:, customers], axis=1, return_inverse=True)
    patterns = patterns.reshape(-1)
    for pattern in range(int(patterns.max()) + 1):
        yield customers[patterns == pattern]


class _Rooms:
    """The rooms that families leave for each customer; a family that limits nobody has none."""

    def __init__(self, families: FamilySet, customers: int) -> None:
        self._families = families
        self._customers = customers
        self._rooms: dict[int, np.ndarray[tuple[int, int], np.dtype[np.float64]]] = {}

    def note(self, customers: IntRow, capped: Capped) -> None:
        """Notes the rooms that a count has found for some customers alike."""
        for room in capped.rooms:
            mine = self._rooms.get(room.family)
            if mine is None:
                mine = self._rooms[room.family] = np.full((self._customers, len(room.room)), np.inf)
            mine[customers] = room.room

    def limits(self) -> list[MassLimit]:
        """A limit for each family that leaves anybody less room than there are slots."""
        found = []
        for number, room in self._rooms.items():
            family = self._families.families[number]
            bound = None if family.carriers.all() else family.carriers
            found.append(MassLimit(family.keys, room, None, bound))
        return found
