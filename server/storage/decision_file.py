"""The database of the decision log: batches of records, one statement each.

There is one connection, so nothing stands in the way of a checkpoint. Commits are not synced (`synchronous = NORMAL`):
a power cut takes the last ones, which nobody was promised, and leaves the rest whole. The journal, which acknowledges,
cannot do that.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

import aiosqlite

from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage import decision_rows as rows
from server.storage.database import Connector, connect, damage_named, open_writer
from server.storage.decision_codec import Encoded, Waiting, encoding, joined, pack, waiting
from server.storage.decision_stock import Stock
from server.storage.migrations import DECISIONS as STEPS
from server.storage.migrations import migrate

_ANY = 2**63 - 1
_PARTS_AT_ONCE = 3
"""Encoded before others have their turn: a tenth of a millisecond, whereas a turn costs some microseconds."""

_CHECKPOINT = "PRAGMA wal_checkpoint(TRUNCATE)"
_LOG = logging.getLogger(__name__)


class DecisionFile:
    """A database that no other process uses. What changes it is called by one task at a time, reading by any."""

    def __init__(
        self,
        path: Path,
        connection: aiosqlite.Connection,
        stock: Stock,
        log_bytes_max: int,
        now_us: Callable[[], int],
    ) -> None:
        """Takes over what `open` has opened."""
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._connection = connection
        self._stock = stock
        self._log_bytes_max = log_bytes_max
        self._now_us = now_us

    @classmethod
    async def open(
        cls,
        path: Path,
        connector: Connector = connect,
        *,
        max_bytes: int,
        log_bytes_max: int,
        now_us: Callable[[], int],
    ) -> Self:
        """Opens a database, and makes one if there is none.

        Raises:
            JournalDamagedError: it is damaged.
            NewerEntryError: a newer server wrote it.
            OSError: it cannot be used.
        """
        with damage_named(path):
            connection = await open_writer(path, connector)
            try:
                await connection.execute_fetchall("PRAGMA synchronous = NORMAL")
                await _require_pages(connection, path)
                await migrate(connection, STEPS, str(path))
                stock = Stock(connection, max_bytes)
                await stock.take()
            except BaseException:
                await connection.close()
                raise
        return cls(path, connection, stock, log_bytes_max, now_us)

    def __str__(self) -> str:
        return str(self._path)

    @property
    def first(self) -> int:
        """The oldest batch; the one after the last if there is none."""
        return self._stock.first

    @property
    def last(self) -> int:
        """The last batch."""
        return self._stock.last

    @property
    def oldest_us(self) -> int:
        """The time of the oldest record, 0 if there is none."""
        return self._stock.oldest_us

    # Reading

    async def of_number(self, number: int) -> list[DecisionRecord]:
        """The records of a number: one, or none.

        Raises:
            JournalDamagedError: a batch is not what was written.
            NewerEntryError: a newer server wrote it.
            OSError: it cannot be read.
        """
        found = await self._run(rows.OF_NUMBERS, number, number)
        return [record for row in found for record in rows.records(row, self._path, number, number)]

    async def last_number(self) -> int:
        """The highest number of any record, 0 if there is none.

        Raises:
            OSError: it cannot be read.
        """
        ((last,),) = await self._run(rows.LAST_NUMBER)
        return last or 0

    async def between(self, first: int, last: int, limit: int) -> list[tuple[DecisionRecord, int]]:
        """The first records of a range of numbers in any order, at least `limit` if there are so many.

        Returns:
            Each with the time at which it was written.

        Raises:
            JournalDamagedError, NewerEntryError, OSError: as `of_number`.
        """
        found: list[tuple[DecisionRecord, int]] = []
        for batch, lowest in await self._run(rows.WHERE_NUMBERS, first, last):
            if sum(record.number < lowest for record, _ in found) >= limit:
                break
            for row in await self._run(rows.OF_BATCH, batch):
                written_us = rows.written_us(row)
                found += [(record, written_us) for record in rows.records(row, self._path, first, last)]
        return found

    async def mentioning(self, customers: Collection[str], low: int, high: int) -> list[int]:
        """The batches behind `low` up to `high` that mention a customer.

        Raises:
            JournalDamagedError, OSError: it cannot be read.
        """
        return [batch for (batch,) in await self._run(rows.MENTIONING, low, high, *_needles(customers))]

    # Writing

    async def write(self, group: Sequence[Waiting]) -> None:
        """Writes a batch, all of it or nothing; the oldest ones go if there is too much.

        Raises:
            JournalDamagedError, OSError: it cannot be written.
            Exception: some record is not as its type says.
        """
        encoded = await _encoded(group)
        size, bounds = rows.bytes_of(encoded), rows.bounds_of([record for record, _, _ in group], self._now_us())
        with damage_named(self._path):
            gone = await self._stock.make_room(size)
            batch = self._stock.last + 1
            checksum = rows.checksum(batch, bounds, encoded)
            row = (batch, gone, *bounds, len(group), size, encoded.version, checksum, encoded.queries, encoded.columns)
            await self._connection.execute_fetchall(rows.INSERT, row)
            await self._stock.add(batch, size)

    async def rewrite(self, batch: int, without: Collection[str]) -> int:
        """Writes a batch anew without these customers, if it is there; returns how many records are gone.

        Raises:
            JournalDamagedError, OSError: it cannot be written.
        """
        for row in await self._run(rows.OF_BATCH, batch):
            try:
                records = rows.records(row, self._path, 0, _ANY)
            except (JournalDamagedError, NewerEntryError) as error:
                # Whoever wants to be forgotten is, also by a batch that cannot be read.
                _LOG.error("it is deleted, as a customer must go from it: %s", error)
                await self._run(rows.DELETE, batch)
                return 1
            kept = [waiting(record) for record in records if record.query.customer_id not in without]
            if not kept:
                await self._run(rows.DELETE, batch)
            elif len(kept) < len(records):
                await self._replace(batch, rows.Bounds(*row[1:5]), kept)
            return len(records) - len(kept)
        return 0

    async def delete_older(self, than_us: int) -> list[int]:
        """Deletes some of the batches without a record of this time or later; returns how many records each had.

        Raises:
            JournalDamagedError, OSError: it cannot be written.
        """
        return [records for (records,) in await self._run(rows.DELETE_OLDER, than_us)]

    async def recount(self) -> None:
        """Counts what is there, after something was deleted or has failed.

        Raises:
            JournalDamagedError, OSError: it cannot be read.
        """
        with damage_named(self._path):
            await self._stock.take()

    async def checkpoint(self) -> None:
        """Copies the write-ahead log into the database and empties it.

        Raises:
            JournalDamagedError, OSError: the log still has something in it.
        """
        ((is_busy, _, _),) = await self._run(_CHECKPOINT)
        if is_busy:
            raise OSError(f"{self._path}: another process reads it, so that its log cannot be emptied")

    async def checkpoint_a_long_log(self) -> None:
        """Does so if the log is long; if it cannot be done, then later."""
        if _size(self._log) > self._log_bytes_max:
            try:
                await self.checkpoint()
            except (OSError, JournalDamagedError) as error:
                _LOG.warning("%s: its log stays long: %s", self._path, error)

    async def close(self) -> None:
        """Lets go of the file. Closing twice is closing once."""
        await self._connection.close()

    async def _replace(self, batch: int, bounds: rows.Bounds, kept: Sequence[Waiting]) -> None:
        encoded = await _encoded(kept)
        checksum = rows.checksum(batch, bounds, encoded)
        size = rows.bytes_of(encoded)
        row = (len(kept), size, encoded.version, checksum, encoded.queries, encoded.columns)
        await self._run(rows.REPLACE, *row, batch)

    async def _run(self, statement: str, *parameters: object) -> list[Any]:
        with damage_named(self._path):
            return list(await self._connection.execute_fetchall(statement, parameters))


async def _encoded(group: Sequence[Waiting]) -> Encoded:
    """The group encoded on the event loop, with turns for others between.

    A thread that computes in Python would keep the loop waiting for up to five milliseconds at a time.
    """
    parts = []
    for number, part in enumerate(encoding(group)):
        parts.append(part)
        if number % _PARTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return joined(parts)


def _needles(customers: Collection[str]) -> tuple[str, bytes]:
    """What `MENTIONING` looks for: where in the bytes each packed identifier is, counted from 1, and the bytes."""
    needles = [pack(customer) for customer in customers]
    places, start = [], 1
    for needle in needles:
        places.append(f"[{start},{len(needle)}]")
        start += len(needle)
    return f"[{','.join(places)}]", b"".join(needles)


async def _require_pages(connection: aiosqlite.Connection, path: Path) -> None:
    """Raises unless pages are so small that `BLANK_BYTES` fill the part of a row that a deletion may leave behind."""
    ((size,),) = await connection.execute_fetchall("PRAGMA page_size")
    if size > rows.BLANK_BYTES:
        raise OSError(f"{path} has pages of {size} bytes; only up to {rows.BLANK_BYTES} can be erased from")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
