"""LoadProfiles: takes profiles in bulk, as columns, through the same journal as deltas."""

import asyncio

from server.domain.clock import microseconds_of
from server.domain.errors import invalid_field
from server.domain.identifier import is_identifier, require_identifier
from server.domain.journal import ProfilesLoaded
from server.domain.load import ColumnBatch, portions
from server.execution.deltas import DeltasApplied
from server.execution.sources import Accepted, Sources
from server.execution.state import Clock, State
from server.execution.writer import Written
from server.input.loading import check_batch

MAX_CUSTOMERS = 16_384
MAX_CELLS = 2_097_152
"""Customers times columns of a batch at most: 16 MiB of values."""

CUSTOMERS_AT_ONCE = 1_024
"""Customers that are applied in one turn of the event loop: with 64 attributes some 6 ms."""


class LoadProfiles:
    """Checks batches, has them written, and says how far a load has come."""

    def __init__(self, state: State, sources: Sources, clock: Clock) -> None:
        self._state = state
        self._sources = sources
        self._clock = clock

    def accept(self, source: str, sequence: int, batch: ColumnBatch) -> Accepted:
        """Gives a batch its place in the order, at once; nothing of it is taken if anything is wrong with it.

        Raises:
            OpportuneError: INVALID_FIELD, NO_CATALOG.
        """
        schema = self._state.catalog.customer
        known = self._sources.known(source, sequence, not batch.customer_ids)
        if known is not None:
            return known
        if not sequence:
            raise invalid_field("sequence", "is required")
        if len(batch.customer_ids) > MAX_CUSTOMERS:
            raise invalid_field("customer_ids", f"has more than {MAX_CUSTOMERS:,} customers")
        if len(batch.customer_ids) * len(batch.columns) > MAX_CELLS:
            raise invalid_field("columns", f"are more than {MAX_CELLS:,} values")
        for place, customer_id in enumerate(batch.customer_ids):
            if not is_identifier(customer_id):
                require_identifier(f"customer_ids[{place}]", customer_id)
        check_batch(batch, schema)
        return Accepted(source, sequence, sequence, self._write(source, sequence, batch))

    def _write(self, source: str, sequence: int, batch: ColumnBatch) -> "asyncio.Future[Written]":
        """Writes a batch in several entries; the last one has the sequence, as applying the others twice is no harm."""
        *earlier, last = portions(batch, CUSTOMERS_AT_ONCE)
        time_us = microseconds_of(self._clock())
        for portion in earlier:
            entry = ProfilesLoaded(time_us, source, 0, portion)
            self._sources.write(source, 0, entry, weight=len(portion.customer_ids))
        entry = ProfilesLoaded(time_us, source, sequence, last)
        return self._sources.write(source, sequence, entry, weight=len(last.customer_ids))

    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """Waits until an accepted batch is durable and visible.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; then the batch was not applied.
        """
        if accepted.written is not None:
            await asyncio.shield(accepted.written)
        return DeltasApplied(accepted.acknowledges, self._state.facts.offset, ())
