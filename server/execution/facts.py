"""The facts: everything that the journal says, folded up to an offset. `apply` is the only way to change them.

Applying an entry looks at nothing but the facts and the entry, so that recovery, replay and tests get the same facts
from the same entries.
"""

from collections.abc import Sequence
from typing import NamedTuple

from server.domain.attribute import Schema
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identity import DEFAULT_POLICY, IdentityPolicy
from server.domain.journal import (
    CatalogPublished,
    DecisionsMade,
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    OutcomesReported,
    ProfilesLoaded,
    Record,
)
from server.domain.outcome import AttributedOutcome, Attribution, Outcome, event_of
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta, RejectedDelta
from server.input.aggregates import Aggregates
from server.input.change import Change
from server.input.contact_book import ContactBook
from server.input.deltas import compile_updates
from server.input.loading import load
from server.input.matches import Matches
from server.input.profiles import ProfileTable
from server.input.relayout import relayout


class CompiledDelta(NamedTuple):
    """A delta with its place in the request and what it changes."""

    place: int
    delta: ProfileDelta
    changes: Sequence[Change]


class CompiledDeltas(NamedTuple):
    """The deltas of a request, compiled; their changes hold for this schema and no other."""

    schema: Schema
    deltas: Sequence[CompiledDelta]


class Applied(NamedTuple):
    """What an entry's sender is told: the deltas that turned out to be refused, what became of each outcome."""

    refused: Sequence[RejectedDelta] = ()
    attributed: Sequence[AttributedOutcome] = ()


class Facts:
    """What is known, as of an offset of the journal.

    Attributes:
        sources: The watermark of each source: everything up to it is applied.
        catalog: The last catalog that was published.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        self.offset = 0
        self.profiles = ProfileTable(schema or Schema())
        self.contacts = ContactBook(self.profiles)
        self.matches = Matches()
        self.sources: dict[str, int] = {}
        self.catalog: CatalogPublished | None = None

    @property
    def policy(self) -> IdentityPolicy:
        """How identifiers may be joined."""
        return DEFAULT_POLICY if self.catalog is None else self.catalog.identity

    def apply(self, record: Record, compiled: Sequence[CompiledDelta] | None = None) -> Applied:
        """Applies the next entry; returns what its sender is told.

        Args:
            compiled: The entry's deltas as somebody has compiled them already for the schema of now.
        """
        offset, entry = record
        if offset != self.offset + 1:
            raise ValueError(f"entry {offset} does not follow {self.offset}")
        applied = self._apply(entry, offset, compiled)
        self.profiles.refresh(offset)
        self.offset = offset
        return applied

    def compile(self, delta: ProfileDelta) -> list[Change]:
        """What a delta changes.

        Raises:
            OpportuneError: INVALID_FIELD, and nothing has been changed.
        """
        return compile_delta(delta, self.profiles.schema, self.profiles.aggregates)

    def _apply(self, entry: Entry, offset: int, compiled: Sequence[CompiledDelta] | None) -> Applied:
        match entry:
            case DeltasReceived():
                return self._apply_deltas(entry, offset, compiled)
            case ProfilesLoaded():
                load(self.profiles, entry.batch, offset)
                self._advance(entry.source, entry.sequence)
            case CatalogPublished():
                relayout(self.profiles, entry.schema)
                self.catalog = entry
                self.contacts.policy = entry.contacts
            case DecisionsMade():
                self._apply_decisions(entry)
            case OutcomesReported():
                return self._apply_outcomes(entry, offset)
            case IdentifiersLinked():
                return self._link(entry, offset)
            case IdentifierUnlinked():
                self._unlink(entry, offset)
        return Applied()

    def _apply_deltas(self, entry: DeltasReceived, offset: int, compiled: Sequence[CompiledDelta] | None) -> Applied:
        refused = []
        for place, delta, changes in self._compiled(entry) if compiled is None else compiled:
            try:
                row = self._apply_delta(delta, changes, offset, entry.time_us)
            except OpportuneError as error:
                refused.append(RejectedDelta(place, error))
                continue
            for key in delta.match_keys:
                try:
                    self._match(row, key, offset)
                except OpportuneError as error:
                    refused.append(RejectedDelta(place, error, applied=True))
        self._advance(entry.source, entry.sequence)
        return Applied(refused)

    def _apply_decisions(self, entry: DecisionsMade) -> None:
        """Enters the decisions that are not in force yet: all of them when the journal is read again."""
        contacts = self.contacts
        codes = [contacts.code(subject) for subject in entry.subjects]
        for made in entry.decisions:
            if made.number > contacts.decided:
                contacts.decide(made, [codes[place] for place in made.shown], entry.time_us)
            contacts.written = max(contacts.written, made.number)

    def _apply_outcomes(self, entry: OutcomesReported, offset: int) -> Applied:
        attributed = []
        for outcome, subject in zip(entry.outcomes, entry.subjects, strict=True):
            found = self.contacts.report(outcome, subject, entry.time_us)
            attributed.append(found)
            if found.attribution is not Attribution.REPEATED:
                self._count_outcome(outcome, found, offset, entry.time_us)
        return Applied(attributed=attributed)

    def _count_outcome(self, outcome: Outcome, found: AttributedOutcome, offset: int, received_us: int) -> None:
        """Brings the aggregates up to date that take events of outcomes."""
        ref, profiles = found.decision, self.profiles
        row = self.contacts.row_of(ref) if ref else profiles.find(outcome.customer_id) if outcome.customer_id else -1
        event = event_of(outcome, None if ref is None else self.contacts.subject_of(ref))
        if row < 0 or event.type not in profiles.aggregates.events:
            return
        time_us = min(outcome.event_time_us, received_us)
        try:
            changes = profiles.aggregates.compile(event, time_us)
        except OpportuneError:
            # An aggregate asks for a property that outcomes do not have.
            return
        profiles.update(row, changes, time_us, offset, received_us)

    def _compiled(self, entry: DeltasReceived) -> list[CompiledDelta]:
        compiled = []
        for place, delta in enumerate(entry.deltas):
            try:
                compiled.append(CompiledDelta(place, delta, self.compile(delta)))
            except OpportuneError:
                # The catalog has changed between check and commit, and the delta has nothing to change any more.
                continue
        return compiled

    def _apply_delta(self, delta: ProfileDelta, changes: Sequence[Change], offset: int, received_us: int) -> int:
        """Applies a delta to the row of its identifier, which is returned; refuses it before anything is changed."""
        profiles = self.profiles
        if delta.other_ids:
            self._require_room([delta.customer_id, *delta.other_ids])
        row = profiles.ensure(delta.customer_id)
        if type(delta.change) is ConsentUpdate:
            consent = delta.change
            if consent.purpose in profiles.schema.purposes:
                profiles.record_consent(row, consent.purpose, consent.granted, delta.event_time_us, offset)
        else:
            profiles.update(row, changes, delta.event_time_us, offset, received_us)
        for other_id in delta.other_ids:
            if other_id != delta.customer_id:
                profiles.link(row, profiles.ensure(other_id), False, offset)
        return row

    def _match(self, row: int, key: bytes, offset: int) -> None:
        """Joins a row to the holder of a match key, unless they were parted or would be too many."""
        holder = self.matches.holder(key)
        if holder < 0:
            self.matches.hold(key, row)
        elif holder != row and self.profiles.graph.may_join(row, holder):
            self._require_room([self.profiles.name(row), self.profiles.name(holder)])
            self.profiles.link(row, holder, True, offset)

    def _link(self, entry: IdentifiersLinked, offset: int) -> Applied:
        try:
            self._require_room([entry.identifier, entry.other])
        except OpportuneError as error:
            return Applied([RejectedDelta(0, error)])
        left, right = self.profiles.ensure(entry.identifier), self.profiles.ensure(entry.other)
        self.profiles.link(left, right, False, offset)
        return Applied()

    def _unlink(self, entry: IdentifierUnlinked, offset: int) -> None:
        row, other = self.profiles.find(entry.identifier), self.profiles.find(entry.other) if entry.other else None
        if row >= 0 and other != -1:
            self.profiles.unlink(row, other, offset)

    def _require_room(self, identifiers: Sequence[str]) -> None:
        """Refuses to make a customer of more identifiers than the catalog allows."""
        found = {identifier: self.profiles.find(identifier) for identifier in identifiers}
        rows = {member for row in found.values() if row >= 0 for member in self.profiles.graph.members(row)}
        joined = len(rows) + sum(row < 0 for row in found.values())
        largest = max((len(self.profiles.graph.members(row)) for row in found.values() if row >= 0), default=1)
        limit = self.policy.max_identifiers
        # Those who are one customer already may be more than a newer catalog allows.
        if joined > max(limit, largest):
            message = f"the customer would have {joined} identifiers; the catalog allows {limit}"
            raise OpportuneError(ErrorReason.TOO_MANY_IDENTIFIERS, message, {"max_identifiers": str(limit)})

    def _advance(self, source: str, sequence: int) -> None:
        if sequence:
            self.sources[source] = sequence


def compile_delta(delta: ProfileDelta, schema: Schema, aggregates: Aggregates) -> list[Change]:
    """What a delta changes in its row; a consent and a mere link change no column.

    Raises:
        OpportuneError: INVALID_FIELD.
    """
    change = delta.change
    if type(change) is AttributeUpdates:
        return compile_updates(change, schema)
    if type(change) is Event:
        return aggregates.compile(change, delta.event_time_us)
    return []
