"""The one connection that writes, by turns, and what becomes of it when a write fails."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from server.domain.journal import journal_failed, journal_full
from server.storage.database import ERRORS, is_full

_CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
_LOG = logging.getLogger(__name__)


class Writer:
    """A connection for one task at a time. After an error other than a full disk it takes nothing any more."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self._path = path
        self._connection = connection
        self._turn = asyncio.Lock()
        self._failed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[aiosqlite.Connection]:
        """The connection, for as long as nobody else has it; what goes wrong is rolled back.

        Raises:
            OpportuneError: JOURNAL_FULL if the disk is full, JOURNAL_FAILED after any other error, now or before.
        """
        async with self._turn:
            if self._failed:
                raise journal_failed()
            try:
                yield self._connection
            except ERRORS as error:
                await self._roll_back(error)
                raise (journal_failed() if self._failed else journal_full()) from error

    async def checkpoint(self) -> bool:
        """Copies the write-ahead log into the database and empties it; False if a reader stood in the way.

        Raises:
            OpportuneError: as for any turn.
        """
        async with self.turn() as connection:
            ((busy, _, _),) = await connection.execute_fetchall(_CHECKPOINT)
        return not busy

    async def _roll_back(self, error: Exception) -> None:
        # After a failed sync nobody knows what became of earlier writes; only a new start can find out.
        self._failed = not is_full(error)
        _LOG.error("%s: %s", self._path, error)
        try:
            if self._connection.in_transaction:
                await self._connection.execute_fetchall("ROLLBACK")
        except ERRORS as second:
            self._failed = True
            _LOG.error("%s: rolling back: %s", self._path, second)
