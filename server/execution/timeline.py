"""The journal in the order in which the server knew it: decisions right behind the last entry that they knew.

A decision is in force at once, and the journal has it some milliseconds later, behind entries that waited for the disk
meanwhile. Those were applied after it. Whoever reads the journal again, to recover or to replay, has to do the same:
an outcome that names no decision goes to the latest one, and that must not depend on when it was written.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from server.domain.contact import ContactSubject
from server.domain.journal import DecisionMade, DecisionsMade, Record
from server.execution.facts import Facts

LOOK_AHEAD = 1_024
"""How many entries are looked at for decisions that were made before them: more never wait for one commit."""

_READ_AT_ONCE = 256
_NEVER = 1 << 63


class Reader(Protocol):
    """Reads entries in their order."""

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset; see `Journal.read`."""
        ...


class _Waiting(NamedTuple):
    made: DecisionMade
    subjects: tuple[ContactSubject, ...]
    time_us: int


class Timeline:
    """Brings facts forward along a journal."""

    def __init__(self, facts: Facts, journal: Reader, kept: Callable[[Record], Record] = lambda record: record) -> None:
        """`kept` says what is left of an entry when those who were erased are taken out."""
        self._facts = facts
        self._journal = journal
        self._kept = kept
        self._ahead: deque[Record] = deque()
        self._decisions: deque[_Waiting] = deque()
        self._read = facts.offset
        self._is_at_end = False

    async def step(self) -> bool:
        """Applies the next entry, after all decisions that did not know it; False at the end, where all are entered.

        Raises:
            JournalDamagedError, NewerEntryError: as `Journal.read`.
        """
        await self._look_ahead()
        self._enter(_NEVER)
        if not self._ahead:
            return False
        self._facts.apply(self._ahead.popleft())
        return True

    async def advance(self, version: int, number: int) -> None:
        """Goes on to where a decision was made: behind an entry, and all decisions with lower numbers.

        Stops early where the journal ends.

        Raises:
            JournalDamagedError, NewerEntryError: as `Journal.read`.
        """
        while self._facts.offset < version and await self.step():
            pass
        await self._look_ahead()
        self._enter(number)

    async def _look_ahead(self) -> None:
        """Knows all decisions that did not know the next entry: a later one tells that there are no more."""
        offset = self._facts.offset
        while not self._is_at_end and len(self._ahead) < LOOK_AHEAD:
            if self._ahead and self._decisions and self._decisions[-1].made.profile_version > offset:
                return
            records = await self._journal.read(self._read, _READ_AT_ONCE)
            self._is_at_end = not records
            for record in map(self._kept, records):
                self._ahead.append(record)
                self._read = record.offset
                if isinstance(record.entry, DecisionsMade):
                    self._decisions += [
                        _Waiting(made, record.entry.subjects, record.entry.time_us) for made in record.entry.decisions
                    ]

    def _enter(self, below: int) -> None:
        contacts, offset = self._facts.contacts, self._facts.offset
        while self._decisions:
            made, subjects, time_us = self._decisions[0]
            if made.profile_version > offset or made.number >= below:
                return
            self._decisions.popleft()
            if made.number > contacts.decided:
                contacts.decide(made, [contacts.code(subjects[place]) for place in made.shown], time_us)
