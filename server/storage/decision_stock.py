"""What the decision log has on disk: how much, and which batches are the oldest."""

from collections import deque
from typing import NamedTuple

import aiosqlite

from server.storage import decision_rows as rows


class _Batch(NamedTuple):
    batch: int
    bytes: int
    oldest_us: int


class Stock:
    """Counts what is there, so that a write need not ask; only the oldest batches are known one by one."""

    def __init__(self, connection: aiosqlite.Connection, max_bytes: int) -> None:
        self.last = 0
        """The last batch."""
        self._connection = connection
        self._max_bytes = max_bytes
        self._bytes = 0
        self._gone = 0
        self._oldest: deque[_Batch] = deque()

    @property
    def first(self) -> int:
        """The oldest batch; the one after the last if there is none."""
        return self._oldest[0].batch if self._oldest else self.last + 1

    @property
    def oldest_us(self) -> int:
        """The time of the oldest record, 0 if there is none."""
        return self._oldest[0].oldest_us if self._oldest else 0

    async def take(self) -> None:
        """Counts anew.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        ((last, self._bytes),) = await self._connection.execute_fetchall(rows.STOCK)
        self.last = max(last or 0, self.last)
        self._gone = 0
        self._oldest.clear()
        await self._look_up()

    async def make_room(self, size: int) -> int:
        """The last batch that must go so that one of this size may come, 0 if none must. They count as gone already.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        gone = 0
        while self._bytes + size > self._max_bytes:
            await self._look_up()
            if not self._oldest:
                break
            oldest = self._oldest.popleft()
            self._bytes -= oldest.bytes
            gone = self._gone = oldest.batch
        return gone

    async def add(self, batch: int, size: int) -> None:
        """Counts a batch that was written.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        self.last = batch
        self._bytes += size
        await self._look_up()

    async def _look_up(self) -> None:
        """Knows some of the oldest batches, if there are any."""
        if not self._oldest:
            found = await self._connection.execute_fetchall(rows.OLDEST, (self._gone,))
            self._oldest.extend(_Batch(*row) for row in found)
