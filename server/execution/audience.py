"""CountAudience: for how many customers a condition holds, counted a little at a time while rankings go on.

Sketch for a million customers and four comparisons: 2,000 pages of 30 us, most of it waiting for memory, in some 60
turns of a millisecond. A ranking waits for the turn that runs when it comes, and for no more.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np

from server.domain.attribute import BoolRow, IntRow, Schema, days_since_epoch
from server.domain.clock import microseconds_of
from server.domain.condition import ConditionError
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.execution.facts import Facts
from server.execution.state import Clock, State
from server.input.columns import CustomerColumns, TableLaidOutAnewError
from server.input.history import HistoryReader
from server.intelligence.audience import Audience

AT_ONCE = 2
"""So many audiences are counted at a time; each has a turn of the loop, so that rankings wait for this many at most."""

TURN_S = 0.001
"""About the longest time that customers are looked at without letting others have their turn."""

MOST_PAGES = 8
"""So many pages of 512 rows are looked at together if that is quick: the calls for a page cost half of what its cells
do. Of more, the arrays are so large that the allocator takes them from the system each time."""


@dataclass(frozen=True, slots=True)
class AudienceCount:
    """How many customers there are, and for how many of them the condition holds.

    Attributes:
        profile_version: What was known when counting began; what came later may be counted or not.
    """

    count: int
    customers: int
    profile_version: int


class CountAudience:
    """Counts the customers for whom a condition holds now.

    At most `AT_ONCE` calls count at a time; others wait, and whoever came first goes first.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, condition: str) -> AudienceCount:
        """The count, of one time for all customers.

        Raises:
            OpportuneError: INVALID_FIELD for a condition that does not compile, with line and column; NO_CATALOG;
                CATALOG_CHANGED if customers got other attributes while they were counted.
        """
        async with self._room:
            # Attributes are those of the catalog: without one there is nothing to ask for.
            _ = self._state.catalog
            facts, now = self._state.facts, self._clock()
            version = facts.offset
            scan = AudienceScan(facts, compile_audience(condition, facts.profiles.schema), now)
            try:
                while scan.turn():
                    await asyncio.sleep(0)
            except TableLaidOutAnewError:
                message = "the catalog's attributes changed while customers were counted; count again"
                raise OpportuneError(ErrorReason.CATALOG_CHANGED, message) from None
            return AudienceCount(scan.count, scan.customers, version)


def compile_audience(condition: str, customer: Schema) -> Audience:
    """The audience of a condition.

    Raises:
        OpportuneError: INVALID_FIELD with line and column.
    """
    if not condition.strip():
        raise invalid_field("condition", "is required; `true` holds for everybody")
    try:
        return Audience.compile(condition, customer)
    except ConditionError as error:
        raise invalid_field("condition", str(error)) from None


class AudienceScan:
    """Goes through all customers once. They may change between two turns.

    Attributes:
        count: The customers so far for whom the condition holds.
        customers: All that were looked at.
    """

    def __init__(self, facts: Facts, audience: Audience, now: datetime) -> None:
        self.count = self.customers = 0
        self._profiles = facts.profiles
        self._audience = audience
        self._columns = CustomerColumns(facts.profiles, audience.columns)
        self._history = HistoryReader(audience.history, facts.contacts.subjects) if audience.history else None
        self._now_days, self._now_us = days_since_epoch(now), microseconds_of(now)
        self._next, self._pages = 0, 1

    def turn(self) -> bool:
        """Looks at customers for about `TURN_S`, or to the end; whether there are more.

        Raises:
            TableLaidOutAnewError: the condition is about attributes that customers do not have any more.
        """
        before = began = perf_counter()
        while self._next < len(self._profiles.pages):
            rows, holds = self.step()
            self.customers += len(rows)
            self.count += int(np.count_nonzero(holds))
            now = perf_counter()
            self._pages = _pages_for(self._pages, now - before)
            if now - began >= TURN_S:
                break
            before = now
        return self._next < len(self._profiles.pages)

    def step(self) -> tuple[IntRow, BoolRow]:
        """The customers of the next few pages: their rows, and for which of them the condition holds.

        Raises:
            TableLaidOutAnewError.
        """
        rows, values = self._columns.block(range(self._next, self._next + self._pages), self._now_days)
        self._next += self._pages
        history = None if self._history is None else self._history.read_rows(self._profiles, rows, self._now_us)
        return rows, self._audience.holds(values, history, self._now_days)


def _pages_for(pages: int, took_s: float) -> int:
    """How many pages to look at together after so many took so long: few where customers have buckets or contacts."""
    if took_s > TURN_S / 2:
        return max(pages // 2, 1)
    return min(pages * 2, MOST_PAGES) if took_s < TURN_S / 4 else pages
