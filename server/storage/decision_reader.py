"""The decision log for those who only read it, from another process, while a server may be writing to it."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiosqlite

from server.domain.decision_record import DecisionRecord
from server.storage import decision_rows as rows
from server.storage.database import connect_read_only, damage_named, open_reader
from server.storage.migrations import DECISIONS as STEPS
from server.storage.migrations import require_all_taken


class ReadOnlyDecisionLog:
    """The records that are in the file; what the server has not written yet is not among them."""

    def __init__(self, path: Path, reader: aiosqlite.Connection) -> None:
        """Takes over what `open` has opened."""
        self._path = path
        self._reader = reader

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens a decision log that a server may be using.

        Raises:
            FileNotFoundError: there is none.
            JournalDamagedError: the database is damaged.
            NewerEntryError: a newer server wrote the database.
            OSError: the file cannot be used, or an older server wrote it.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no decision log {path}")
        async with AsyncExitStack() as opened:
            with damage_named(path):
                reader = await open_reader(path, connect_read_only)
                opened.push_async_callback(reader.close)
                await require_all_taken(reader, STEPS, str(path))
            opened.pop_all()
        return cls(path, reader)

    async def last_number(self) -> int:
        """The highest number of any record, 0 if there is none.

        Raises:
            JournalDamagedError, OSError: it cannot be read.
        """
        ((last,),) = await self._run(rows.LAST_NUMBER)
        return last or 0

    async def between(self, first: int, last: int) -> list[DecisionRecord]:
        """The records of a range of numbers, in their order.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: they cannot be read.
        """
        batches = await self._run(rows.OF_NUMBERS, first, last)
        found = [record for row in batches for record in rows.records(row, self._path, first, last)]
        return sorted(found, key=lambda record: record.number)

    async def close(self) -> None:
        """Lets go of the file."""
        await self._reader.close()

    async def _run(self, statement: str, *parameters: int) -> list[Any]:
        with damage_named(self._path):
            return list(await self._reader.execute_fetchall(statement, parameters))
