"""A data folder as another process reads it, beside the server that has it open: nothing in it is written or locked.

SQLite lets readers be in other processes. None of them checkpoints: a database that is opened for reading only cannot.
"""

import sqlite3
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiosqlite

from server.domain.decision_record import DecisionRecord
from server.domain.erasure import ErasureLedger
from server.domain.journal import JournalDamagedError, NewerEntryError, Record
from server.storage import decision_rows, rows
from server.storage.database import damage_named, open_reader
from server.storage.folder import DECISIONS, ERASURES, JOURNAL, SNAPSHOTS
from server.storage.ledger import FileLedger
from server.storage.migrations import DECISIONS as DECISION_STEPS
from server.storage.migrations import JOURNAL as JOURNAL_STEPS
from server.storage.snapshots import SnapshotFolder

_NEWEST = "SELECT max(last) FROM batches"


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to a database that is there."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


class JournalReader:
    """The entries of a journal up to where it was when it was opened."""

    def __init__(self, path: Path, connection: aiosqlite.Connection, first: int, head: int) -> None:
        self._path = path
        self._connection = connection
        self.first = first
        self.head = head

    @classmethod
    async def open(cls, path: Path, stack: AsyncExitStack) -> Self:
        """Opens a journal; the stack closes it.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: it cannot be read.
        """
        connection = await _open(path, len(JOURNAL_STEPS), stack)
        with damage_named(path):
            ((_, newest, through, expected),) = await connection.execute_fetchall(rows.BOUNDS)
        through = through or 0
        if through and rows.checksum_of_bound(through) != expected:
            raise JournalDamagedError(f"{path}: the offset up to which entries are forgotten is damaged")
        return cls(path, connection, through + 1, through if newest is None else newest)

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order; none may be missing.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: they cannot be read.
        """
        high = min(after + limit, self.head)
        if after >= high:
            return []
        with damage_named(self._path):
            found = await self._connection.execute_fetchall(rows.READ, (after, high))
        records = [rows.record(row, self._path) for row in found]
        if [record.offset for record in records] != list(range(after + 1, high + 1)):
            raise JournalDamagedError(f"{self._path}: not all of entries {after + 1} to {high} are there")
        return records


class DecisionReader:
    """The records of a decision log."""

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    async def open(cls, path: Path, stack: AsyncExitStack) -> Self:
        """Opens a decision log; the stack closes it.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: it cannot be read.
        """
        return cls(path, await _open(path, len(DECISION_STEPS), stack))

    async def newest(self) -> int:
        """The highest number, 0 if there is none."""
        with damage_named(self._path):
            ((newest,),) = await self._connection.execute_fetchall(_NEWEST)
        return newest or 0

    async def between(self, first: int, last: int) -> list[DecisionRecord]:
        """The records of a range of numbers, in their order.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: they cannot be read.
        """
        found: list[DecisionRecord] = []
        with damage_named(self._path):
            batches = await self._connection.execute_fetchall(decision_rows.OF_NUMBERS, (first, last))
        for row in batches:
            found += decision_rows.records(row, self._path, first, last)
        return sorted(found, key=lambda record: record.number)


@dataclass(frozen=True, slots=True)
class FolderReader:
    """What another process reads of a data folder."""

    journal: JournalReader
    decisions: DecisionReader
    snapshots: SnapshotFolder
    ledger: ErasureLedger


async def read_folder(folder: Path, erasures: Path | None, stack: AsyncExitStack) -> FolderReader:
    """Opens a data folder for reading; the stack closes it.

    Raises:
        JournalDamagedError, NewerEntryError, OSError: something in it cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    return FolderReader(
        await JournalReader.open(folder / JOURNAL, stack),
        await DecisionReader.open(folder / DECISIONS, stack),
        SnapshotFolder(folder / SNAPSHOTS),
        FileLedger.view(erasures or folder / ERASURES),
    )


async def _open(path: Path, layout: int, stack: AsyncExitStack) -> aiosqlite.Connection:
    with damage_named(path):
        connection = await open_reader(path, connect_to_read)
        stack.push_async_callback(connection.close)
        ((found,),) = await connection.execute_fetchall("PRAGMA user_version")
    if found != layout:
        raise NewerEntryError(f"{path} has layout {found}, this version reads {layout}")
    return connection
