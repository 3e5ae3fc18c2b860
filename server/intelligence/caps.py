"""Caps, compiled: which offers a customer's contacts hold back, and how much room a decision has left.

Caps that say the same but of whom are a family. A family puts contacts together by a key (the offer, its exclusion
group, its tactic, the channel, or one key for all), and holds back its carriers with a key whose count is reached.

Sketch: a customer has some ten events and a catalog a handful of families, so the counts are a few numpy calls over
[families, events]; only keys that were touched are looked at, so the number of offers does not matter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.cap import Cap
from server.domain.contact import (
    HOLDING,
    KIND_MASK,
    STATE_MASK,
    UNCOUNTED,
    ContactKind,
    ContactScope,
    ContactSubject,
    reached_bit,
)
from server.domain.offer import Offer

Words = NDArray[np.int64]
_NO_KEY = -1
_NO_LIMIT = 1 << 62
_NEVER = -(1 << 62)
_RESERVED = HOLDING | {ContactKind.DECISION}
"""What a decision takes room for, so that one of several offers may fill a cap up by itself."""


class ContactColumns(NamedTuple):
    """Contact events as caps read them, int64 [events] each.

    Attributes:
        times_us: When each was.
        states: What each is, as `domain/contact.py` lays it out: its kind, and of a decision what it has reached.
        subjects: The code of what each is about; -1 where events may be missing up to its time.
    """

    times_us: Words
    states: Words
    subjects: Words


class CapFamily(NamedTuple):
    """The offers that carry one cap.

    Attributes:
        keys: For each offer its key within the family, -1 if none; int [offers].
        condition: The place of the condition that lifts the cap if it holds, -1 if nothing does.
    """

    cap: Cap
    carriers: BoolRow
    keys: IntRow
    condition: int


class Most(NamedTuple):
    """The most offers that a decision may show: at all, and of one exclusion group. More room limits nobody."""

    slots: int
    of_group: int


class CapRoom(NamedTuple):
    """How many more offers of each key a decision may have: `room` float64 [keys], `keys` int [offers]."""

    family: int
    keys: IntRow
    room: NDArray[np.float64]
    carriers: BoolRow
    of_channel: bool


class Capped(NamedTuple):
    """What contacts hold back: offers with the family that does, and the room that is left for others."""

    offers: IntRow
    families: IntRow
    rooms: Sequence[CapRoom]


class Counted(NamedTuple):
    """What contacts count for: how many for each key of all families, with a key for what may have been missed."""

    counts: Mapping[int, int]


_NOTHING = np.empty(0, np.intp)
NOT_COUNTED = Counted({})
NOT_CAPPED = Capped(_NOTHING, _NOTHING, ())


@dataclass(frozen=True, slots=True)
class FamilySet:
    """The families that count the same events: a customer's, or a household's. Immutable once made.

    Attributes:
        members: For each family and key the carriers with it.
        key_of: For each family the numbers of its keys, by what `ContactSubject.key` says.
    """

    families: tuple[CapFamily, ...]
    members: tuple[Mapping[int, IntRow], ...]
    key_of: tuple[Mapping[str, int], ...]

    def __len__(self) -> int:
        return len(self.families)


class _Shared(NamedTuple):
    """A family of which one decision may use up room for several offers: its keys, its cap's count and scope."""

    number: int
    base: int
    end: int
    limit: int
    of: ContactScope


class CapCounter:
    """Counts contacts for a set of families. Knows the subjects that were met so far, and learns new ones.

    What an event counts for is looked up, not worked out: by its state, the age up to which it counts for each family,
    and by its subject, the key of each family. Keys of all families are numbered one after the other; behind them comes
    for each family a key that stands for too many, and one that has no limit.
    """

    def __init__(self, families: FamilySet, subjects: Sequence[ContactSubject], hold_us: int) -> None:
        """`subjects` is read when there are more than have been met."""
        self._set = families
        self._subjects = subjects
        sizes = [len(numbers) for numbers in families.key_of]
        self._bases = [0, *accumulate(sizes)]
        last = self._bases[-1]
        caps = [family.cap for family in families.families]
        self._limits = [cap.count for cap, size in zip(caps, sizes, strict=True) for _ in range(size)]
        self._limits += [1] * len(caps) + [_NO_LIMIT]
        self._family_of = [number for number, size in enumerate(sizes) for _ in range(size)] + list(range(len(caps)))
        self._ages_us = np.array([_ages_us(cap, hold_us) for cap in caps], np.int64).reshape(len(caps), STATE_MASK + 1)
        self._nothing = last + len(caps)
        # The last column is what a code of -1 takes.
        self._keys = np.arange(last, self._nothing)[:, None]
        self._known = 0
        lifted_by = np.array([family.condition for family in families.families], np.intp)
        self._lifted_by = lifted_by if (lifted_by >= 0).any() else None
        self._shared = tuple(
            _Shared(number, self._bases[number], self._bases[number + 1], cap.count, cap.of)
            for number, cap in enumerate(caps)
            if cap.of is not ContactScope.OFFER and cap.on in _RESERVED
        )

    def count(self, events: ContactColumns | None, now_us: int, lifting: BoolRow | None = None) -> Counted:
        """What these contacts count for at a time.

        Args:
            events: None for a customer without contacts.
            lifting: Which conditions hold that lift caps, bool [conditions].
        """
        return NOT_COUNTED if events is None else Counted(Counter(self._touched(events, now_us, lifting)))

    def judge(self, counted: Counted, most: Most, lifting: BoolRow | None = None) -> Capped:
        """What is held back by what was counted.

        Args:
            most: What the decision may show.
            lifting: As for `count`.
        """
        counts, limits = counted.counts, self._limits
        full = [key for key, count in counts.items() if count >= limits[key]]
        rooms = self._rooms(counts, most, lifting)
        if full:
            return self._held_back(full, rooms)
        return NOT_CAPPED._replace(rooms=rooms) if rooms else NOT_CAPPED

    def _touched(self, events: ContactColumns, now_us: int, lifting: BoolRow | None) -> list[int]:
        """The keys that events count for, one for each event and family that counts it."""
        if len(self._subjects) > self._known:
            self._learn()
        counted = now_us - events.times_us < self._ages_us.take(events.states, 1)
        if lifting is not None and self._lifted_by is not None:
            counted &= ~(lifting.take(self._lifted_by) & (self._lifted_by >= 0))[:, None]
        touched: list[int] = self._keys.take(events.subjects, 1)[counted].tolist()
        return touched

    def _rooms(self, counts: Mapping[int, int], most: Most, lifting: BoolRow | None) -> tuple[CapRoom, ...]:
        """The families that a decision could fill up by itself; what is full already is held back anyway."""
        rooms: tuple[CapRoom, ...] = ()
        highest = max(counts.values(), default=0)
        for number, base, end, limit, of in self._shared:
            # One offer of a key fits wherever the key is not full.
            shown = most.of_group if of is ContactScope.EXCLUSION_GROUP else most.slots
            if shown <= 1 or limit - highest >= shown:
                continue
            family = self._set.families[number]
            if lifting is not None and family.condition >= 0 and lifting[family.condition]:
                continue
            used = {key - base: count for key, count in counts.items() if base <= key < end}
            if limit >= shown and not any(limit - shown < count < limit for count in used.values()):
                continue
            room = np.full(end - base, float(limit))
            for key, count in used.items():
                room[key] = max(limit - count, 0)
            rooms += (CapRoom(number, family.keys, room, family.carriers, of is ContactScope.CHANNEL),)
        return rooms

    def _held_back(self, full: Sequence[int], rooms: tuple[CapRoom, ...]) -> Capped:
        offers, families = [], []
        for key in full:
            number = self._family_of[key]
            members = self._set.members[number]
            if key < self._bases[-1]:
                offers.append(members.get(key - self._bases[number], _NOTHING))
            else:
                offers.append(np.concatenate([_NOTHING, *members.values()]))
            families.append(number)
        lengths = [len(each) for each in offers]
        return Capped(np.concatenate(offers), np.repeat(np.array(families, np.intp), lengths), rooms)

    def _learn(self) -> None:
        """Looks up the keys of all subjects there are by now, with room for as many again."""
        known, count = self._known, len(self._subjects)
        if count >= self._keys.shape[1]:
            keys = np.full((len(self._set), 2 * count + 1), self._nothing)
            keys[:, :known], keys[:, -1] = self._keys[:, :known], self._keys[:, -1]
            self._keys = keys
        for code, subject in enumerate(self._subjects[known:], known):
            for number, family in enumerate(self._set.families):
                key = subject.key(family.cap.of)
                place = None if key is None else self._set.key_of[number].get(key)
                if place is not None:
                    self._keys[number, code] = self._bases[number] + place
        self._known = count


def _ages_us(cap: Cap, hold_us: int) -> list[int]:
    """For each state of an event, the age below which it counts for a cap."""
    is_held = cap.on in HOLDING
    ages_us = []
    for state in range(STATE_MASK + 1):
        kind = state & KIND_MASK
        if kind == cap.on:
            ages_us.append(cap.window_us)
        elif kind == ContactKind.DECISION and is_held and not state & reached_bit(cap.on):
            ages_us.append(hold_us)
        elif kind == UNCOUNTED:
            ages_us.append(max(cap.window_us, hold_us) if is_held else cap.window_us)
        else:
            ages_us.append(_NEVER)
    return ages_us


def compile_families(offers: Sequence[Offer], caps: Sequence[tuple[Cap, BoolRow, int]], channel: str) -> FamilySet:
    """The families of these caps, each with its carriers and its condition, for decisions on a channel."""
    subjects = [ContactSubject(o.id, "", channel, o.tactic, o.exclusion_group) for o in offers]
    families, members, key_of = [], [], []
    for cap, carriers, condition in caps:
        numbers: dict[str, int] = {}
        keys = np.full(len(offers), _NO_KEY, np.intp)
        for place, subject in enumerate(subjects):
            key = subject.key(cap.of)
            if key is not None:
                keys[place] = numbers.setdefault(key, len(numbers))
        families.append(CapFamily(cap, carriers, keys, condition))
        members.append(_by_key(carriers, keys))
        key_of.append(numbers)
    return FamilySet(tuple(families), tuple(members), tuple(key_of))


def _by_key(carriers: BoolRow, keys: IntRow) -> dict[int, IntRow]:
    """The carriers with each key."""
    carried = (carriers & (keys >= 0)).nonzero()[0]
    if not len(carried):
        return {}
    order = carried[np.argsort(keys[carried], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
    return {int(keys[part[0]]): part for part in parts}
