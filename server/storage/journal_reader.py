"""The journal for those who only read it, from another process, while a server may be writing to it.

SQLite's connection is read-only, so it never checkpoints and never resets the write-ahead log, not even when it is the
last to be closed: see `database.py` for why exactly one connection may. Each read is a transaction of its own, and
short: a reader holds up the checkpoint that an erasure waits for. Where no server runs, SQLite leaves an empty log and
its index beside the database; they belong to no transaction, and the next server takes them over.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import aiosqlite

from server.domain.journal import JournalDamagedError, Record
from server.storage import rows
from server.storage.acknowledged import read_note
from server.storage.database import connect_read_only, damage_named, open_reader
from server.storage.folder import ACKNOWLEDGED, JOURNAL
from server.storage.migrations import JOURNAL as STEPS
from server.storage.migrations import require_all_taken

READ_AT_ONCE = 128
"""Entries of one transaction at most. An entry may be a load of a thousand customers, and while a transaction reads,
a checkpoint of the server waits, and behind it whatever is to be acknowledged."""


class ReadOnlyJournal:
    """The entries from `first` to `head`, as these were when it was opened."""

    def __init__(self, path: Path, reader: aiosqlite.Connection, first: int, head: int) -> None:
        """Takes over what `open` has opened."""
        self._path = path
        self._reader = reader
        self._first = first
        self._head = head

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Opens the journal of a folder that a server may be using.

        Raises:
            FileNotFoundError: there is none.
            JournalDamagedError: the database is damaged, or acknowledged entries are missing.
            NewerEntryError: a newer server wrote the database.
            OSError: the files cannot be used, or an older server wrote them.
        """
        path = folder / JOURNAL
        if not path.is_file():
            raise FileNotFoundError(f"there is no journal {path}")
        # Read before the head: an offset is noted when its entry is durable, so the head cannot be behind it.
        noted = read_note(folder / ACKNOWLEDGED)
        async with AsyncExitStack() as opened:
            with damage_named(path):
                reader = await open_reader(path, connect_read_only)
                opened.push_async_callback(reader.close)
                await require_all_taken(reader, STEPS, str(path))
                (found,) = await reader.execute_fetchall(rows.BOUNDS)
            first, head = rows.bounds(found, path)
            if noted is not None and noted > head:
                raise JournalDamagedError(f"{path}: entries {head + 1} to {noted} were acknowledged and are missing")
            opened.pop_all()
        return cls(path, reader, first, head)

    @property
    def first(self) -> int:
        """The offset of the oldest entry that was kept."""
        return self._first

    @property
    def head(self) -> int:
        """The offset of the last entry that there was."""
        return self._head

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order.

        Raises:
            JournalDamagedError: one is missing, perhaps because it was forgotten since, or is not what was written.
            NewerEntryError: a newer server wrote one.
        """
        low = max(after, self._first - 1)
        high = min(low + limit, low + READ_AT_ONCE, self._head)
        if low >= high:
            return []
        with damage_named(self._path):
            found = await self._reader.execute_fetchall(rows.READ, (low, high))
        records = [rows.record(row, self._path) for row in found]
        rows.require_all([record.offset for record in records], range(low + 1, high + 1), self._path)
        return records

    async def close(self) -> None:
        """Lets go of the files."""
        await self._reader.close()
