"""Contacts: what each customer was shown and what became of it, in runs of 24 bytes an event.

A decision adds an event for each of its offers, an outcome one for each stage that it is the first to reach. A
decision's event knows the stages that were reached, so that whatever it still holds is told from what was used.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import IntRow
from server.domain.contact import (
    KIND_MASK,
    REACHED,
    REACHED_SHIFT,
    STATE_BITS,
    STATE_MASK,
    UNCOUNTED,
    ContactKind,
    reached_bit,
)
from server.input.pages import Arrays, SavedPage
from server.input.runs import Runs

__all__ = ["LARGEST_RUN", "UNCOUNTED", "Contacts", "Events", "Reached", "decision_words", "joined", "outcome_words"]

LARGEST_RUN = 4_096
SLOT_BITS = 12
"""One decision may fill 16 placements of 100 slots."""

_SLOT_MASK = (1 << SLOT_BITS) - 1
_SLOT_SHIFT = STATE_BITS
_SUBJECT_SHIFT = STATE_BITS + SLOT_BITS
_UNCOUNTED_WORD = -1
"""Its kind is `UNCOUNTED`, and its subject -1, which no subject has."""

Words = NDArray[np.int64]


class Events(NamedTuple):
    """The contact events of a customer as columns, in no particular order."""

    times_us: Words
    numbers: Words
    words: Words

    @property
    def kinds(self) -> Words:
        """What each event is: a `ContactKind`, or `UNCOUNTED`."""
        return self.words & KIND_MASK

    @property
    def states(self) -> Words:
        """The kind of each event, and the kinds that a decision has reached since."""
        return self.words & STATE_MASK

    @property
    def subjects(self) -> Words:
        """The code of what each event is about; -1 for what stands for more than is kept."""
        return self.words >> _SUBJECT_SHIFT

    @property
    def slots(self) -> Words:
        """The place in its decision of what each event is about."""
        return self.words >> _SLOT_SHIFT & _SLOT_MASK

    @property
    def reached(self) -> Words:
        """Of each decision, the kinds that were reached since, as bits by kind."""
        return (self.words & STATE_MASK) >> REACHED_SHIFT


class Reached(NamedTuple):
    """What an outcome has added to a contact: the subject's code, when it was decided, and the stages new to it."""

    subject: int
    decided_us: int
    kinds: tuple[ContactKind, ...]


def outcome_words(subject: int, slot: int, kinds: Sequence[ContactKind]) -> Words:
    """The events of the stages that an outcome has reached."""
    return np.array([subject << _SUBJECT_SHIFT | slot << _SLOT_SHIFT | kind for kind in kinds], np.int64)


_SLOTS = np.arange(1 << SLOT_BITS) << _SLOT_SHIFT


def decision_words(subjects: Sequence[int] | Words) -> Words:
    """The events of a decision for these subjects, in the order of its slots."""
    codes = np.array(subjects, np.int64)
    codes <<= _SUBJECT_SHIFT
    codes |= _SLOTS[: len(codes)]
    return codes


class Contacts:
    """The contact events of every row."""

    def __init__(self, name: str = "contacts") -> None:
        self._runs = Runs(name, {"times_us": np.int64, "numbers": np.int64, "words": np.int64}, LARGEST_RUN)

    def read(self, row: int) -> Events | None:
        """A row's events, None if there are none. Views: do not keep or change them."""
        columns = self._runs.read(row)
        return None if columns is None else Events(*columns)

    def gather(self, rows: IntRow) -> tuple[IntRow, Events]:
        """The events of many rows, copied, and for each event the place of its row among them."""
        owners, counts, columns = self._runs.gather(rows)
        return np.repeat(owners, counts), Events(*columns)

    def add(self, row: int, time_us: int, number: int, words: Words, oldest_us: int) -> None:
        """Adds events of one time and decision; events that are not later than the oldest may be let go for them."""
        count = len(words)
        columns: tuple[int | Words, ...] = (time_us, number, words)
        if self._runs.append(row, columns, count):
            return
        events = self.read(row)
        if events is None:
            self._runs.assign(row, columns, count)
        elif int(events.times_us.min()) > oldest_us and self._runs.grow(row, count):
            self._runs.append(row, columns, count)
        else:
            added = Events(np.full(count, time_us), np.full(count, number), words)
            kept = self._with_room(row, added, oldest_us)
            self._runs.assign(row, kept, len(kept[0]))

    def decision(self, row: int, number: int, slot: int) -> tuple[Events, int] | None:
        """A row's events, and the place among them of one offer of a decision; None if the row does not know it."""
        events = self.read(row)
        if events is None:
            return None
        found = (events.numbers == number) & (events.kinds == ContactKind.DECISION) & (events.slots == slot)
        places = found.nonzero()[0]
        return (events, int(places[0])) if len(places) else None

    def reach(
        self, row: int, number: int, slot: int, outcome: tuple[ContactKind, int], oldest_us: int
    ) -> Reached | None:
        """Notes an outcome (kind and time) of one offer of a decision; None if the row knows no such contact."""
        kind, time_us = outcome
        found = self.decision(row, number, slot)
        if found is None:
            return None
        events, place = found
        word, decided_us = int(events.words[place]), int(events.times_us[place])
        new = tuple(stage for stage in REACHED[kind] if not word & reached_bit(stage))
        if new:
            writable = self._runs.writable(row)
            assert writable is not None
            for stage in new:
                writable[2][place] |= reached_bit(stage)
            words = outcome_words(word >> _SUBJECT_SHIFT, slot, new)
            self.add(row, max(time_us, decided_us), number, words, oldest_us)
        return Reached(word >> _SUBJECT_SHIFT, decided_us, new)

    def latest(self, row: int, subjects: Words, times_us: tuple[int, int], last: int) -> tuple[int, int] | None:
        """Number and slot of the latest decision about one of these subjects: between two times, up to a number."""
        events = self.read(row)
        if events is None:
            return None
        since_us, until_us = times_us
        fits = (events.kinds == ContactKind.DECISION) & (events.numbers <= last)
        fits &= (events.times_us >= since_us) & (events.times_us <= until_us)
        places = (fits & np.isin(events.subjects, subjects)).nonzero()[0]
        if not len(places):
            return None
        place = places[events.numbers[places].argmax()]
        return int(events.numbers[place]), int(events.slots[place])

    def remove(self, row: int, numbers: Collection[int]) -> None:
        """Forgets the events of some decisions."""
        events = self.read(row)
        if events is None:
            return
        kept = [column[~np.isin(events.numbers, list(numbers))] for column in events]
        self._runs.assign(row, tuple(kept), len(kept[0]))

    def clear(self, row: int) -> None:
        """Forgets the events of a row."""
        self._runs.clear(row)

    def rows(self) -> Iterator[int]:
        """The rows that have events, in their order."""
        return self._runs.rows()

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        return self._runs.capture()

    def restore(self, pages: Mapping[str, Iterable[Arrays]]) -> None:
        """Fills empty contacts with captured pages, by name."""
        self._runs.restore(pages)

    def _with_room(self, row: int, added: Events, oldest_us: int) -> tuple[Words, Words, Words]:
        """A row's events that still matter, and these: the newest, if a run does not hold them all."""
        events = self.read(row)
        if events is None:
            return added
        keep = events.times_us > oldest_us
        columns = Events(*(np.concatenate([old[keep], new]) for old, new in zip(events, added, strict=True)))
        excess = len(columns.words) - LARGEST_RUN
        if excess <= 0:
            return columns
        order = np.argsort(columns.times_us, kind="stable")
        # The events that go stand together for one that counts as any number.
        last_gone = order[excess]
        kept = Events(*(column[order[excess:]] for column in columns))
        kept.words[0], kept.numbers[0], kept.times_us[0] = _UNCOUNTED_WORD, 0, columns.times_us[last_gone]
        return kept


def joined(runs: Iterable[Events | None]) -> Events | None:
    """The events of several identifiers together."""
    present = [events for events in runs if events is not None]
    if len(present) < 2:
        return present[0] if present else None
    return Events(*(np.concatenate(columns) for columns in zip(*present, strict=True)))
