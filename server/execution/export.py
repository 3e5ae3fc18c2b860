"""ExportProfile: everything that is held about a customer, for a person to read.

The profile comes first, as decisions use it; then what each identifier's own row and the vault hold; then what the
journal still has, in its order. Other customers stand in the same entries: nothing of them is exported.
"""

from collections.abc import AsyncIterator, Iterator, Set
from datetime import datetime
from typing import NamedTuple

import numpy as np

from server.domain.attribute import Value, days_since_epoch
from server.domain.clock import time_of
from server.domain.contact import ContactKind
from server.domain.identifier import require_identifier
from server.domain.journal import Journal
from server.domain.profile import Profile
from server.domain.vault import Vault
from server.execution.exported_changes import ExportedChange, changes_of
from server.execution.facts import Facts
from server.execution.profiles import attributes_of, profile_not_found, profile_of
from server.execution.state import Clock, State
from server.input.event_times import NEVER, TimeRow
from server.input.profiles import ProfileTable

__all__ = ["ExportPart", "ExportProfile", "ExportedChange", "ExportedValue"]

READ_AT_ONCE = 16
"""An entry may be a load of a thousand customers, or a thousand deltas."""


class ExportedValue(NamedTuple):
    """One value that is held of an identifier. Sums and counts have no event time."""

    identifier: str
    store: str
    name: str
    value: Value
    event_time: datetime | None


ExportPart = Profile | ExportedValue | ExportedChange


class ExportProfile:
    """Exports what is held about a customer."""

    def __init__(self, state: State, journal: Journal, vault: Vault | None, clock: Clock) -> None:
        self._state = state
        self._journal = journal
        self._vault = vault
        self._clock = clock

    async def __call__(self, customer_id: str) -> AsyncIterator[ExportPart]:
        """The profile, then each value of each identifier, then each change, oldest first.

        Raises:
            OpportuneError: INVALID_FIELD; PROFILE_NOT_FOUND if nothing is held.
            JournalDamagedError: an entry or a text is not what was written.
        """
        require_identifier("customer_id", customer_id)
        is_held = False
        async for part in self._parts(customer_id):
            is_held = True
            yield part
        if not is_held:
            raise profile_not_found()

    async def _parts(self, customer_id: str) -> AsyncIterator[ExportPart]:
        identifiers = [customer_id]
        # Profile and values are of one moment: nothing else has a turn before all of them are read.
        for part in (read := list(self._read(customer_id))):
            yield part
        if read and isinstance(read[0], Profile):
            identifiers = list(read[0].identifiers)
        async for text in self._texts(identifiers):
            yield text
        async for change in self._changes(frozenset(identifiers)):
            yield change

    def _read(self, customer_id: str) -> Iterator[ExportPart]:
        profiles = self._state.profiles
        row = profiles.find(customer_id)
        if row < 0:
            return
        now = self._clock()
        members = profiles.members(row)
        yield profile_of(profiles, customer_id, profiles.graph.customer(row), members, now)
        for member in members:
            yield from values_of(profiles, member, now)
            yield from consents_of(profiles, member)
            yield from contacts_of(self._state.facts, member)

    async def _texts(self, identifiers: list[str]) -> AsyncIterator[ExportedValue]:
        opened = {} if self._vault is None else await self._vault.read(identifiers)
        for identifier, texts in opened.items():
            for attribute, event_time_us, text in texts:
                yield ExportedValue(identifier, "vault", attribute, text, time_of(event_time_us))

    async def _changes(self, identifiers: Set[str]) -> AsyncIterator[ExportedChange]:
        """What happens while the export is on its way is not in it."""
        after, last = 0, self._journal.head
        while after < last:
            records = await self._journal.mentioning(sorted(identifiers), after, READ_AT_ONCE)
            if not records:
                return
            after = records[-1].offset
            schema = self._state.profiles.schema
            for record in records:
                if record.offset <= last:
                    for change in changes_of(record.entry, identifiers, schema):
                        yield change


def values_of(profiles: ProfileTable, row: int, now: datetime) -> Iterator[ExportedValue]:
    """What an identifier's own row holds: sums as they are now, but no sums of nothing."""
    schema, identifier = profiles.schema, profiles.name(row)
    read = profiles.read_row(row)
    values = read.values.copy()
    profiles.aggregates.read(values, read.buckets, days_since_epoch(now))
    blank = profiles.aggregates.blank
    values[schema.settable_width :][values[schema.settable_width :] == blank[schema.settable_width :]] = np.nan
    times = profiles.member(row).times
    for name, value in attributes_of(values, schema):
        yield ExportedValue(identifier, "profile", name, value, _time(times, schema.columns[name]))


def consents_of(profiles: ProfileTable, row: int) -> Iterator[ExportedValue]:
    """The answers that are recorded for an identifier."""
    times = profiles.member(row).consent_times
    for purpose, granted in profiles.consents(row).items():
        time_us = int(times[profiles.schema.purposes.index(purpose)])
        yield ExportedValue(profiles.name(row), "consent", purpose, granted, _time_or_none(time_us))


def contacts_of(facts: Facts, row: int) -> Iterator[ExportedValue]:
    """What an identifier was shown, and what became of it."""
    events, profiles = facts.profiles.contacts.read(row), facts.profiles
    if events is None:
        return
    columns = (events.times_us.tolist(), events.kinds.tolist(), events.subjects.tolist())
    for time_us, kind, code in zip(*columns, strict=True):
        if kind in iter(ContactKind):
            subject = facts.contacts.subjects[code]
            words = f"{subject.offer_id} at {subject.placement_id} on {subject.channel}"
            name = ContactKind(kind).name.lower()
            yield ExportedValue(profiles.name(row), "contacts", name, words, time_of(time_us))


def _time(times: TimeRow, column: int) -> datetime | None:
    """The time of a column that deltas may set; aggregates have none."""
    return _time_or_none(int(times[column])) if column < len(times) else None


def _time_or_none(time_us: int) -> datetime | None:
    return None if time_us == NEVER else time_of(time_us)
