"""Caps, compiled: which offers a customer's contacts hold back, and how much room a decision has left.

Caps that say the same but of whom are a family. A family puts contacts together by a key (the offer, its exclusion
group, its tactic, the channel, or one key for all), and holds back its carriers with a key whose count is reached.

Sketch: a customer has some ten events and a catalog a handful of families, so the counts are a few numpy calls over
[families, events]; only keys that were touched are looked at, so the number of offers does not matter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import BoolRow, IntRow
from server.domain.cap import Cap
from server.domain.contact import ContactKind, ContactScope, ContactSubject
from server.domain.offer import Offer

Words = NDArray[np.int64]
ScopeKey = tuple[ContactScope, str]
_NO_KEY = -1


class ContactColumns(NamedTuple):
    """Contact events as caps read them.

    Attributes:
        times_us: When each was, int64 [events].
        kinds: What each is, a `ContactKind`; anything else makes no cap count it.
        subjects: The code of what each is about.
        reached: Of a decision, the kinds that were reached since, as bits by kind.
        uncounted_us: The latest time before which events may be missing; 0 if none are.
    """

    times_us: Words
    kinds: Words
    subjects: Words
    reached: Words
    uncounted_us: int


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


class CapRoom(NamedTuple):
    """How many more offers of each key a decision may have: `room` float64 [keys], `keys` int [offers]."""

    family: int
    keys: IntRow
    room: NDArray[np.float64]
    carriers: BoolRow


class Capped(NamedTuple):
    """What contacts hold back: offers with the family that does, and the room that is left for others."""

    offers: IntRow
    families: IntRow
    rooms: Sequence[CapRoom]


class Counted(NamedTuple):
    """What contacts count for: how many for each key of all families, and the families that may have missed some."""

    counts: Mapping[int, int]
    uncounted: Sequence[int]


_NOTHING = np.empty(0, np.intp)
NOT_COUNTED = Counted({}, ())
NOT_CAPPED = Capped(_NOTHING, _NOTHING, ())


@dataclass(frozen=True, slots=True)
class FamilySet:
    """The families that count the same events: a customer's, or a household's. Immutable once made.

    Attributes:
        members: For each family and key the carriers with it.
        key_of: For each family the numbers of its scope keys, which contacts are looked up by.
    """

    families: tuple[CapFamily, ...]
    members: tuple[Mapping[int, IntRow], ...]
    key_of: tuple[Mapping[ScopeKey, int], ...]
    sizes: tuple[int, ...]
    windows_us: Words
    kinds: Words
    holds: NDArray[np.bool_]
    limits: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.families)


class CapCounter:
    """Counts contacts for a set of families. Knows the subjects that were met so far, and learns new ones."""

    def __init__(self, families: FamilySet, subjects: Sequence[ContactSubject], hold_us: int) -> None:
        """`subjects` is read when contacts are about one that has not been met."""
        self._set = families
        self._subjects = subjects
        self._hold_us = hold_us
        self._bases = np.cumsum([0, *families.sizes])
        self._limits = [limit for limit, size in zip(families.limits, families.sizes, strict=True) for _ in range(size)]
        self._family_of = [number for number, size in enumerate(families.sizes) for _ in range(size)]
        self._keys = np.empty((len(families), 0), np.int64)
        self._windows = families.windows_us[:, None]
        self._kinds = families.kinds[:, None]
        self._bits = np.left_shift(1, families.kinds)[:, None]
        self._holds = families.holds[:, None]
        self._lifted_by = np.array([family.condition for family in families.families], np.intp)
        self._any_condition = bool((self._lifted_by >= 0).any())
        self._shared = tuple(
            number
            for number, family in enumerate(families.families)
            if family.cap.of is not ContactScope.OFFER and family.cap.on is not ContactKind.DECLINED
        )

    def count(self, events: ContactColumns | None, now_us: int, lifting: BoolRow | None = None) -> Counted:
        """What these contacts count for at a time.

        Args:
            events: None for a customer without contacts.
            lifting: Which conditions hold that lift caps, bool [conditions].
        """
        if events is None:
            return NOT_COUNTED
        uncounted: Sequence[int] = ()
        if events.uncounted_us:
            uncounted = (now_us - self._set.windows_us < events.uncounted_us).nonzero()[0].tolist()
        return Counted(Counter(self._touched(events, now_us, lifting)), uncounted)

    def judge(self, counted: Counted, slots: int, lifting: BoolRow | None = None) -> Capped:
        """What is held back by what was counted.

        Args:
            slots: How many offers the decision has at most: room for more is no limit.
            lifting: As for `count`.
        """
        counts, uncounted = counted
        full = [key for key, count in counts.items() if count >= self._limits[key]]
        rooms = tuple(self._rooms(counts, slots, lifting)) if self._shared else ()
        if not full and not uncounted:
            return NOT_CAPPED if not rooms else NOT_CAPPED._replace(rooms=rooms)
        return self._held_back(full, uncounted, rooms)

    def _touched(self, events: ContactColumns, now_us: int, lifting: BoolRow | None) -> list[int]:
        """The keys that events count for, one for each event and family that counts it."""
        times_us, kinds, subjects, reached, _ = events
        if len(subjects) and int(subjects.max()) >= self._keys.shape[1]:
            self._learn()
        ages_us = now_us - times_us
        is_decision = kinds == ContactKind.DECISION
        held = is_decision & (ages_us < self._hold_us)
        counted = (kinds == self._kinds) & (ages_us < self._windows)
        counted |= self._holds & held & (reached & self._bits == 0)
        keys = self._keys.take(subjects, axis=1)
        counted &= keys >= 0
        if lifting is not None and self._any_condition:
            counted &= ~(lifting.take(self._lifted_by) & (self._lifted_by >= 0))[:, None]
        touched: list[int] = keys[counted].tolist()
        return touched

    def _rooms(self, counts: Mapping[int, int], slots: int, lifting: BoolRow | None) -> list[CapRoom]:
        """The families that a decision of so many offers could fill up by itself."""
        rooms = []
        for number in self._shared:
            family, limit = self._set.families[number], self._set.limits[number]
            if lifting is not None and family.condition >= 0 and lifting[family.condition]:
                continue
            base, size = int(self._bases[number]), self._set.sizes[number]
            used = {key - base: count for key, count in counts.items() if base <= key < base + size}
            if limit - max(used.values(), default=0) >= slots:
                continue
            room = np.full(size, float(limit))
            for key, count in used.items():
                room[key] = max(limit - count, 0)
            rooms.append(CapRoom(number, family.keys, room, family.carriers))
        return rooms

    def _held_back(self, full: Sequence[int], uncounted: Sequence[int], rooms: tuple[CapRoom, ...]) -> Capped:
        offers, families = [], []
        for key in full:
            number = self._family_of[key]
            offers.append(self._set.members[number].get(key - int(self._bases[number]), _NOTHING))
            families.append(number)
        for number in uncounted:
            offers.append(self._set.families[number].carriers.nonzero()[0])
            families.append(number)
        lengths = [len(each) for each in offers]
        return Capped(np.concatenate(offers), np.repeat(np.array(families, np.intp), lengths), rooms)

    def _learn(self) -> None:
        """Looks up the keys of all subjects there are by now."""
        known = self._keys.shape[1]
        added = np.full((len(self._set), len(self._subjects) - known), _NO_KEY, np.int64)
        for place, subject in enumerate(self._subjects[known:]):
            for number, family in enumerate(self._set.families):
                key = self._set.key_of[number].get(scope_key(family.cap.of, subject), _NO_KEY)
                if key >= 0:
                    added[number, place] = int(self._bases[number]) + key
        self._keys = np.concatenate([self._keys, added], axis=1)


def scope_key(scope: ContactScope, subject: ContactSubject) -> ScopeKey:
    """What a scope puts a subject's contacts together by."""
    match scope:
        case ContactScope.OFFER:
            return scope, subject.offer_id
        case ContactScope.EXCLUSION_GROUP:
            return scope, subject.exclusion_group
        case ContactScope.TACTIC:
            return scope, subject.tactic
        case ContactScope.CHANNEL:
            return scope, subject.channel
        case _:
            return scope, ""


def compile_families(offers: Sequence[Offer], caps: Sequence[tuple[Cap, BoolRow, int]], channel: str) -> FamilySet:
    """The families of these caps, each with its carriers and its condition, for decisions on a channel."""
    families, members, key_of = [], [], []
    for cap, carriers, condition in caps:
        subjects = [ContactSubject(o.id, "", channel, o.tactic, o.exclusion_group) for o in offers]
        numbers: dict[ScopeKey, int] = {}
        keys = np.full(len(offers), _NO_KEY, np.intp)
        for place, subject in enumerate(subjects):
            key = scope_key(cap.of, subject)
            # An offer without a group shares it with nobody.
            if cap.of in (ContactScope.ALL, ContactScope.CHANNEL) or key[1]:
                keys[place] = numbers.setdefault(key, len(numbers))
        families.append(CapFamily(cap, carriers, keys, condition))
        carried = (carriers & (keys >= 0)).nonzero()[0]
        order = carried[np.argsort(keys[carried], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(order) else []
        members.append({int(keys[part[0]]): part for part in parts})
        key_of.append(numbers)
    return FamilySet(
        families=tuple(families),
        members=tuple(members),
        key_of=tuple(key_of),
        sizes=tuple(len(numbers) for numbers in key_of),
        windows_us=np.array([cap.window_us for cap, _, _ in caps], np.int64),
        kinds=np.array([cap.on for cap, _, _ in caps], np.int64),
        holds=np.array([cap.on not in (ContactKind.DECISION, ContactKind.DECLINED) for cap, _, _ in caps], np.bool_),
        limits=tuple(cap.count for cap, _, _ in caps),
    )
