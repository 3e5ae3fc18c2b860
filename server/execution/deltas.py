"""ApplyProfileDeltas: takes the deltas of producers, in their order, each request of a source once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.domain.attribute import Schema
from server.domain.clock import LATEST_US, microseconds_of
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import is_identifier, require_identifier
from server.domain.journal import DeltasReceived, DeltasRejected
from server.domain.profile import AttributeUpdates, ConsentUpdate, ProfileDelta, RejectedDelta
from server.domain.vault import SealedText, Sealer
from server.execution.facts import CompiledDelta, CompiledDeltas
from server.execution.rejections import RejectionLimit
from server.execution.sources import Accepted, Sources
from server.execution.state import Clock, State
from server.execution.writer import Writer, Written, rejections_of
from server.input.matching import match_key

MAX_DELTAS = 1_000
MAX_UPDATES = 4_096
MAX_TEXT_BYTES = 128
MAX_OTHER_IDS = 16


@dataclass(frozen=True, slots=True)
class DeltasApplied:
    """What became of one request: the source's watermark, the version to read it at, and what was refused."""

    acknowledged_sequence: int
    profile_version: int
    rejected: tuple[RejectedDelta, ...]


class ApplyProfileDeltas:
    """Checks deltas, has them written, and says what became of them."""

    def __init__(
        self,
        state: State,
        writer: Writer,
        sources: Sources,
        *,
        clock: Clock,
        limit: RejectionLimit,
        sealer: Sealer | None = None,
    ) -> None:
        """Takes deltas for a state; without a sealer, identifying text is refused."""
        self._state = state
        self._writer = writer
        self._sources = sources
        self._clock = clock
        self._limit = limit
        self._sealer = sealer

    async def __call__(
        self, source: str, sequence: int, deltas: Sequence[ProfileDelta | OpportuneError]
    ) -> DeltasApplied:
        """Applies the deltas of one request; one that could not even be read stands as its error.

        Raises:
            OpportuneError: as `accept` and `settle`.
        """
        if not deltas:
            self._sources.resume(source)
        return await self.settle(self.accept(source, sequence, deltas))

    def accept(self, source: str, sequence: int, deltas: Sequence[ProfileDelta | OpportuneError]) -> Accepted:
        """Gives a request its place in the order, at once. Nothing is durable before `settle` has returned.

        Raises:
            OpportuneError: INVALID_FIELD for the request itself, NO_CATALOG before the first catalog,
                TOO_MANY_REJECTED.
        """
        if len(deltas) > MAX_DELTAS:
            raise invalid_field("deltas", f"has more than {MAX_DELTAS:,} entries")
        # Before the first catalog nobody has said what a delta may set.
        _ = self._state.catalog
        known = self._sources.known(source, sequence, not deltas)
        if known is not None:
            return known
        now = self._clock()
        self._limit.check(source, now)
        request = _Request(self._state.profiles.schema, self._sealer, self._state, microseconds_of(now))
        request.take(deltas)
        self._limit.count(source, len(request.rejected), now)
        written = self._write(source, sequence, request)
        acknowledges = sequence or self._sources.watermark(source)
        return Accepted(source, sequence, acknowledges, written, tuple(request.rejected))

    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """Waits until an accepted request is durable and visible, and everything of its source before it.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; then the request was not applied.
        """
        rejected = accepted.rejected
        if accepted.written is not None:
            # The entry stays on its way even if its caller leaves.
            written = await asyncio.shield(accepted.written)
            refused = [each for each in written.refused if not each.applied]
            if refused and accepted.mine:
                rejected = tuple(sorted([*rejected, *refused], key=lambda each: each.index))
                self._limit.count(accepted.source, len(refused), self._clock())
        return DeltasApplied(accepted.acknowledges, self._state.facts.offset, rejected)

    def _write(self, source: str, sequence: int, request: "_Request") -> "asyncio.Future[Written]":
        if request.rejected:
            self._writer.write(DeltasRejected(request.time_us, source, sequence, rejections_of(request.rejected)))
        entry = DeltasReceived(request.time_us, source, sequence, tuple(each.delta for each in request.compiled))
        compiled = CompiledDeltas(request.schema, request.compiled)
        return self._sources.write(
            source, sequence, entry, compiled=compiled, sealed=request.sealed, weight=len(request.compiled) or 1
        )


class _Request:
    """The deltas of one request, good ones apart from bad ones."""

    def __init__(self, schema: Schema, sealer: Sealer | None, state: State, time_us: int) -> None:
        self.schema = schema
        self.time_us = time_us
        self.compiled: list[CompiledDelta] = []
        self.rejected: list[RejectedDelta] = []
        self.sealed: list[SealedText] = []
        self._sealer = sealer
        self._facts = state.facts
        self._texts = schema.texts

    def take(self, deltas: Sequence[ProfileDelta | OpportuneError]) -> None:
        for index, delta in enumerate(deltas):
            try:
                if isinstance(delta, OpportuneError):
                    raise delta
                _check(delta, self.schema)
                changes = self._facts.compile(delta)
                kept = self._without_texts(delta) if self._texts else delta
                self.compiled.append(CompiledDelta(index, kept, changes))
            except OpportuneError as error:
                self.rejected.append(RejectedDelta(index, error))

    def _without_texts(self, delta: ProfileDelta) -> ProfileDelta:
        """The delta as the journal may keep it: its identifying texts are sealed, and match keys stand for them."""
        updates = delta.change
        if not isinstance(updates, AttributeUpdates) or self._texts.isdisjoint([*updates.set, *updates.remove]):
            return delta
        if self._sealer is None:
            raise OpportuneError(ErrorReason.NO_VAULT, "the delta has identifying text, and there is no vault key")
        texts = {name: str(value) for name, value in updates.set.items() if name in self._texts}
        for name, text in texts.items():
            self.sealed.append(self._sealer.seal(delta.customer_id, name, delta.event_time_us, text))
        for name in self._texts & updates.remove.keys():
            self.sealed.append(SealedText(delta.customer_id, name, delta.event_time_us, None))
        kept = updates._replace(set=_without(updates.set, self._texts), remove=_without(updates.remove, self._texts))
        keys = (match_key(rule, texts, self._sealer.pepper) for rule in self._facts.policy.rules)
        return delta._replace(change=kept, match_keys=tuple(key for key in keys if key is not None))


def _without(updates: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in updates.items() if name not in names}


def _check(delta: ProfileDelta, schema: Schema) -> None:
    """Everything that can be refused before the delta is compiled."""
    if not is_identifier(delta.customer_id):
        require_identifier("customer_id", delta.customer_id)
    if not 0 <= delta.event_time_us < LATEST_US:
        raise invalid_field("event_time", "is outside the years 1970 to 2200")
    change = delta.change
    if type(change) is AttributeUpdates:
        if len(change.set) + len(change.increment) + len(change.append) + len(change.remove) > MAX_UPDATES:
            raise invalid_field("attributes", f"changes more than {MAX_UPDATES:,} attributes")
    elif type(change) is ConsentUpdate:
        _check_consent(change, schema)
    elif change is None and not delta.other_ids:
        raise invalid_field("change", "is required: attributes, event or consent")
    if len(delta.other_ids) > MAX_OTHER_IDS:
        raise invalid_field("other_ids", f"has more than {MAX_OTHER_IDS} identifiers")
    for place, other_id in enumerate(delta.other_ids):
        require_identifier(f"other_ids[{place}]", other_id)


def _check_consent(consent: ConsentUpdate, schema: Schema) -> None:
    if consent.purpose not in schema.purposes:
        raise invalid_field("consent.purpose", "is not the purpose of any attribute of the catalog")
    for name, text in (("source", consent.source), ("version", consent.version)):
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise invalid_field(f"consent.{name}", f"is longer than {MAX_TEXT_BYTES} bytes")
