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
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    IdentifierUnlinked,
    ProfilesLoaded,
    Record,
)
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta, RejectedDelta
from server.input.aggregates import Aggregates
from server.input.deltas import Change, compile_updates
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


class Facts:
    """What is known, as of an offset of the journal.

    Attributes:
        sources: The watermark of each source: everything up to it is applied.
        catalog: The last catalog that was published.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.profiles = ProfileTable(Schema())
        self.matches = Matches()
        self.sources: dict[str, int] = {}
        self.catalog: CatalogPublished | None = None

    @property
    def policy(self) -> IdentityPolicy:
        """How identifiers may be joined."""
        return DEFAULT_POLICY if self.catalog is None else self.catalog.identity

    def apply(self, record: Record, compiled: Sequence[CompiledDelta] | None = None) -> list[RejectedDelta]:
        """Applies the next entry; returns the deltas that turned out to be refused.

        Args:
            compiled: The entry's deltas as somebody has compiled them already for the schema of now.
        """
        offset, entry = record
        if offset != self.offset + 1:
            raise ValueError(f"entry {offset} does not follow {self.offset}")
        refused = self._apply(entry, offset, compiled)
        self.profiles.refresh(offset)
        self.offset = offset
        return refused

    def compile(self, delta: ProfileDelta) -> list[Change]:
        """What a delta changes.

        Raises:
            OpportuneError: INVALID_FIELD, and nothing has been changed.
        """
        return compile_delta(delta, self.profiles.schema, self.profiles.aggregates)

    def _apply(self, entry: Entry, offset: int, compiled: Sequence[CompiledDelta] | None) -> list[RejectedDelta]:
        match entry:
            case DeltasReceived():
                return self._apply_deltas(entry, offset, compiled)
            case ProfilesLoaded():
                load(self.profiles, entry.batch, offset)
                self._advance(entry.source, entry.sequence)
            case CatalogPublished():
                relayout(self.profiles, entry.schema)
                self.catalog = entry
            case IdentifiersLinked():
                return self._link(entry, offset)
            case IdentifierUnlinked():
                self._unlink(entry, offset)
        return []

    def _apply_deltas(
        self, entry: DeltasReceived, offset: int, compiled: Sequence[CompiledDelta] | None
    ) -> list[RejectedDelta]:
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
        return refused

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

    def _link(self, entry: IdentifiersLinked, offset: int) -> list[RejectedDelta]:
        try:
            self._require_room([entry.identifier, entry.other])
        except OpportuneError as error:
            return [RejectedDelta(0, error)]
        left, right = self.profiles.ensure(entry.identifier), self.profiles.ensure(entry.other)
        self.profiles.link(left, right, False, offset)
        return []

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
