"""LoadProfiles: takes profiles in bulk, as columns, through the same journal as deltas."""

import asyncio

from server.domain.clock import microseconds_of
from server.domain.errors import invalid_field
from server.domain.identifier import is_identifier, require_identifier
from server.domain.journal import ProfilesLoaded
from server.domain.load import ColumnBatch
from server.execution.deltas import DeltasApplied
from server.execution.sources import Accepted, Sources
from server.execution.state import Clock, State
from server.input.loading import check_batch

MAX_CUSTOMERS = 65_536
MAX_CELLS = 8_388_608
"""Customers times columns of a batch at most: 64 MiB of values."""


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
        entry = ProfilesLoaded(microseconds_of(self._clock()), source, sequence, batch)
        written = self._sources.write(source, sequence, entry, weight=len(batch.customer_ids))
        return Accepted(source, sequence, sequence, written)

    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """Waits until an accepted batch is durable and visible.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED; then the batch was not applied.
        """
        if accepted.written is not None:
            await asyncio.shield(accepted.written)
        return DeltasApplied(accepted.acknowledges, self._state.facts.offset, ())
