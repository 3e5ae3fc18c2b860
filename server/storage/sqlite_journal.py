"""The journal in a SQLite database.

One connection writes: each batch is one statement, which is also its commit, so that an append waits for another thread
once. A second connection reads, and neither waits for the other. Checkpoints, which copy the write-ahead log into the
database, are left to moments when nothing is asked.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Entry, JournalDamagedError, Record, journal_failed
from server.storage import rows
from server.storage.acknowledged import Acknowledged
from server.storage.database import Connector, connect, damage_named, open_reader, open_writer
from server.storage.folder import ACKNOWLEDGED, JOURNAL
from server.storage.migrations import JOURNAL as STEPS
from server.storage.migrations import migrate
from server.storage.writer import Writer

LOG_BYTES_MAX = 4 * 2**20
"""Past this size of the write-ahead log a checkpoint begins by itself. Appends wait for it, some 2 ms for each MiB."""

_TRUNCATED_AT_ONCE = 1_000
_SEARCHED_AT_ONCE = 10_000
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class SqliteJournal:
    """`Journal` in a folder that no other process uses."""

    def __init__(
        self, path: Path, writer: Writer, reader: aiosqlite.Connection, note: Acknowledged, log_bytes_max: int
    ) -> None:
        """Takes over what `open` has opened."""
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._log_bytes_max = log_bytes_max
        self._writer = writer
        self._reader = reader
        self._readers_turn = asyncio.Lock()
        self._acknowledged = note
        self._begun: set[asyncio.Task[Any]] = set()
        self._checkpointing: asyncio.Task[None] | None = None
        self._opened = AsyncExitStack()
        self._first = 1
        self._head = 0

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        connector: Connector = connect,
        accept_loss: bool = False,
        log_bytes_max: int = LOG_BYTES_MAX,
    ) -> Self:
        """Opens the journal of a folder, and makes one if there is none.

        Args:
            folder: Exists, and no other process uses it.
            connector: Opens the connections.
            accept_loss: Goes on without the last entries if they were acknowledged and are missing.
            log_bytes_max: Past this size of the write-ahead log a checkpoint begins by itself.

        Raises:
            JournalDamagedError: the database is damaged, or the last entries are missing.
            NewerEntryError: a newer server wrote the database.
            OSError: the files cannot be used.
        """
        path = folder / JOURNAL
        async with AsyncExitStack() as opened:
            note = opened.enter_context(Acknowledged.open(folder / ACKNOWLEDGED))
            with damage_named(path):
                connection = await open_writer(path, connector)
                opened.push_async_callback(connection.close)
                await migrate(connection, STEPS, str(path))
                reader = await open_reader(path, connector)
                opened.push_async_callback(reader.close)
                journal = cls(path, Writer(path, connection), reader, note, log_bytes_max)
                await journal._begin(accept_loss)
            journal._opened = opened.pop_all()
        return journal

    @property
    def first(self) -> int:
        """The offset of the oldest entry that is kept."""
        return self._first

    @property
    def head(self) -> int:
        """The offset of the last entry that is durable."""
        return self._head

    async def append(self, entries: Sequence[Entry]) -> None:
        """Makes entries durable behind the head, all of them or none."""
        await self._finish(self._append(tuple(entries)))

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order; none may be missing."""
        low = max(after, self._first - 1)
        high = min(low + limit, self._head)
        if low >= high:
            return []
        records = await self._select(rows.READ, low, high)
        # Those that were forgotten meanwhile need not be there.
        rows.require_all([record.offset for record in records], range(max(low + 1, self._first), high + 1), self._path)
        return records

    async def rejected(self, source: str, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `DeltasRejected` behind an offset, of one source or of all."""
        return await self._select(rows.REJECTED, after, self._head, source, max(limit, 0))

    async def published(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `CatalogPublished` behind an offset."""
        return await self._select(rows.PUBLISHED, after, self._head, max(limit, 0))

    async def mentioning(self, identifiers: Sequence[str], after: int, limit: int) -> list[Record]:
        """Up to `limit` entries whose bytes have one of these identifiers in them, perhaps as a part of another."""
        wanted = rows.wanted(identifiers)
        found: list[Record] = []
        low = max(after, self._first - 1)
        while low < self._head and len(found) < limit:
            high = min(low + _SEARCHED_AT_ONCE, self._head)
            found += await self._select(rows.MENTIONING, low, high, wanted, limit - len(found))
            low = high
        return found

    async def rewrite(self, records: Sequence[Record]) -> None:
        """Replaces entries in their places, and empties the write-ahead log, which has the old ones."""
        await self._finish(self._rewrite(tuple(records)))

    async def truncate(self, through: int) -> None:
        """Forgets the entries up to an offset, some at a time: appends go on between."""
        await self._finish(self._truncate(min(through, self._head)))

    async def checkpoint(self) -> None:
        """Copies the write-ahead log into the database and empties it; waits for a read that is under way.

        Raises:
            OpportuneError: as `append` does.
        """
        await self._finish(self._checkpoint())

    async def close(self) -> None:
        """Finishes what was begun and lets go of the files. Closing twice is closing once."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        await self._opened.aclose()

    # Writing

    async def _append(self, entries: tuple[Entry, ...]) -> None:
        async with self._writer.turn() as connection:
            batch = rows.batch(map(Record, count(self._head + 1), entries))
            await connection.execute_fetchall(rows.INSERT, batch._asdict())
            self._head += len(entries)
            self._acknowledged.write(self._head)
        self._checkpoint_a_long_log()

    async def _rewrite(self, records: tuple[Record, ...]) -> None:
        async with self._writer.turn() as connection:
            await connection.execute_fetchall(rows.UPDATE, rows.batch(records)._asdict())
        if not await self._checkpoint():
            _LOG.error("%s: another process reads it, so that rewritten entries are still in its log", self._path)
            raise journal_failed()

    async def _truncate(self, through: int) -> None:
        while self._first <= through:
            await self._forget(min(self._first + _TRUNCATED_AT_ONCE - 1, through))

    async def _forget(self, through: int) -> None:
        # A read that finds them deleted must not take them for missing, so they are forgotten before.
        before, self._first = self._first, through + 1
        try:
            async with self._writer.turn() as connection:
                await connection.execute_fetchall("BEGIN IMMEDIATE")
                await connection.execute_fetchall(rows.FORGET, (through,))
                await connection.execute_fetchall(rows.FORGOTTEN, (through, rows.checksum_of_bound(through)))
                await connection.execute_fetchall("COMMIT")
        except OpportuneError:
            self._first = before
            raise

    async def _checkpoint(self) -> bool:
        """Whether all of the log could be copied."""
        async with self._readers_turn:
            complete = await self._writer.checkpoint()
        await asyncio.to_thread(self._acknowledged.sync)
        return complete

    def _checkpoint_a_long_log(self) -> None:
        """Not within the append, which has done what it promised."""
        if (self._checkpointing is None or self._checkpointing.done()) and _size(self._log) > self._log_bytes_max:
            self._checkpointing = self._start(self._checkpoint_or_log())

    async def _checkpoint_or_log(self) -> None:
        try:
            await self._checkpoint()
        except OpportuneError as error:
            _LOG.warning("%s: its log stays long: %s", self._path, error)

    # Reading

    async def _select(self, statement: str, *parameters: object) -> list[Record]:
        return await self._finish(self._selected(statement, parameters))

    async def _selected(self, statement: str, parameters: tuple[object, ...]) -> list[Record]:
        async with self._readers_turn:
            with damage_named(self._path):
                found = await self._reader.execute_fetchall(statement, parameters)
        return [rows.record(row, self._path) for row in found]

    # Opening

    async def _begin(self, accept_loss: bool) -> None:
        await self._find_bounds()
        self._require_the_acknowledged(accept_loss)
        # Entries that a killed process has left may be in no more than the kernel's memory. A checkpoint syncs them,
        # as its first step, so also if there is no room for the rest.
        try:
            await self._writer.checkpoint()
        except OpportuneError as error:
            if error.reason is not ErrorReason.JOURNAL_FULL:
                raise (error.__cause__ or error) from None  # What SQLite said tells damage from the rest.
        self._acknowledged.write(self._head)

    async def _find_bounds(self) -> None:
        (found,) = await self._reader.execute_fetchall(rows.BOUNDS)
        self._first, self._head = rows.bounds(found, self._path)

    def _require_the_acknowledged(self, accept_loss: bool) -> None:
        noted = self._acknowledged.read()
        if noted is None and self._head:
            _LOG.warning("%s: what was acknowledged last is not known; its last entries may be missing", self._path)
        elif noted is not None and noted > self._head:
            lost = f"{self._path}: entries {self._head + 1} to {noted} were acknowledged and are missing"
            if not accept_loss:
                raise JournalDamagedError(lost)
            _LOG.error("%s; going on without them", lost)

    # Tasks

    async def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does work to its end even if the caller is cancelled: the thread of SQLite would do so anyway."""
        return await asyncio.shield(self._start(work))

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
