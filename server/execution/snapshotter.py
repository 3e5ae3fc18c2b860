"""Takes snapshots beside the ranking, keeps the newest few, and lets go of what the journal need not keep longer."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Protocol

from server.domain.clock import microseconds_of
from server.domain.errors import OpportuneError
from server.domain.journal import Journal, JournalDamagedError
from server.execution.snapshot import Capture, capture
from server.execution.state import Clock, State

_LOG = logging.getLogger(__name__)


class SnapshotStore(Protocol):
    """Keeps snapshots, each under its offset."""

    def offsets(self) -> list[int]:
        """The offsets of all snapshots, newest first."""
        ...

    def remove(self, offset: int) -> None:
        """Removes a snapshot."""
        ...

    async def write(self, capture: Capture) -> None:
        """Writes a snapshot; it is durable when the call returns.

        Raises:
            OSError: it cannot be written.
        """
        ...


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When to take a snapshot and what to keep.

    Attributes:
        every_entries: After so many entries a snapshot is taken.
        every: After so long a snapshot is taken if there was any entry.
        kept: How many snapshots are kept.
        retention: How long the journal keeps entries that a snapshot has already.
    """

    every_entries: int = 200_000
    every: timedelta = timedelta(minutes=10)
    kept: int = 2
    retention: timedelta = timedelta(days=7)


class Snapshotter:
    """Takes snapshots of a state, one at a time."""

    def __init__(
        self, state: State, journal: Journal, store: SnapshotStore, clock: Clock, policy: SnapshotPolicy
    ) -> None:
        self._state = state
        self._journal = journal
        self._store = store
        self._clock = clock
        self._policy = policy
        self._one_at_a_time = asyncio.Lock()
        self._taken_at = clock()
        self.took_s: float | None = None
        """How long the last one took, None before the first."""

    async def run(self, check_s: float = 1.0) -> None:
        """Takes snapshots when the policy says so, until cancelled; one that fails is tried again."""
        while True:
            await asyncio.sleep(check_s)
            if self._due():
                try:
                    await self.take()
                    await self.let_go()
                except (OSError, OpportuneError, JournalDamagedError) as error:
                    _LOG.warning("no snapshot could be taken: %s", error)
                    self._taken_at = self._clock()

    async def take(self) -> int:
        """Takes a snapshot of now, unless there is one, and returns its offset. Only the newest ones are kept.

        Raises:
            OSError: it cannot be written.
        """
        async with self._one_at_a_time:
            self._taken_at = self._clock()
            offset = self._state.facts.offset
            if offset not in self._store.offsets():
                began_s = perf_counter()
                await self._store.write(capture(self._state.facts, microseconds_of(self._taken_at)))
                self.took_s = perf_counter() - began_s
            for old in self._store.offsets()[self._policy.kept :]:
                self._store.remove(old)
            return offset

    async def renew(self) -> int:
        """Takes a snapshot of now and removes all others; returns how many.

        Raises:
            OSError: it cannot be written; the others are still there.
        """
        async with self._one_at_a_time:
            others = [offset for offset in self._store.offsets() if offset != self._state.facts.offset]
            same = len(self._store.offsets()) - len(others)
            # One of the same offset may have been taken before something was forgotten, so it is written again.
            await self._store.write(capture(self._state.facts, microseconds_of(self._clock())))
            newest = max(self._store.offsets())
            removed = [offset for offset in self._store.offsets() if offset != newest]
            for offset in removed:
                self._store.remove(offset)
            return len(removed) + same

    async def let_go(self) -> None:
        """Truncates the journal behind the oldest snapshot, as far as retention allows.

        Raises:
            OpportuneError: as `Journal.append`.
        """
        offsets = self._store.offsets()
        if len(offsets) < self._policy.kept:
            return
        oldest_us = microseconds_of(self._clock() - self._policy.retention)
        through = await self._last_before(oldest_us, offsets[-1])
        if through >= self._journal.first:
            await self._journal.truncate(through)

    def _due(self) -> bool:
        newest = max(self._store.offsets(), default=0)
        behind = self._state.facts.offset - newest
        waited = self._clock() - self._taken_at >= self._policy.every
        return behind >= self._policy.every_entries or (behind > 0 and waited)

    async def _last_before(self, time_us: int, highest: int) -> int:
        """The last entry up to an offset that is older than a time, by halving; entries are in the order of time."""
        low, high = self._journal.first - 1, highest
        while low < high:
            middle = (low + high + 1) // 2
            records = await self._journal.read(middle - 1, 1)
            if records and records[0].entry.time_us < time_us:
                low = middle
            else:
                high = middle - 1
        return low
