"""The decision log on disk. `memory_decision_log.py` has its twin in memory.

`put` is a line in a queue. A task writes what has gathered there: encoded on the event loop, some ten microseconds at
a time, and written by the database's thread, which sees bytes only.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError
from server.execution.state import utc_now_us
from server.storage.database import Connector, connect
from server.storage.decision_file import DecisionFile
from server.storage.decision_queue import DecisionQueue

MAX_BYTES = 4 * 2**30
"""What is kept on disk by default: some three million decisions."""

MAX_PENDING_BYTES = 32 * 2**20
"""What may wait in memory by default: some six thousand decisions."""

LOG_BYTES_MAX = 8 * 2**20
"""Past this size of the write-ahead log it is copied into the database, by default."""

GATHER_S = 0.2
"""How long a record waits for others by default. It can be found meanwhile; a killed process loses it."""

RETRY_S = 1.0
"""How long nothing is written after an error by default."""

_SEARCHED_AT_ONCE = 500
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class SqliteDecisionLog:
    """`DecisionLog` in a file that no other process uses."""

    def __init__(
        self,
        file: DecisionFile,
        queue: DecisionQueue,
        *,
        gather_s: float,
        retry_s: float,
        now_us: Callable[[], int],
    ) -> None:
        """Takes over what `open` has opened, and starts writing what is put."""
        self._now_us = now_us
        self._file = file
        self._queue = queue
        self._turn = asyncio.Lock()
        self._begun: set[asyncio.Task[Any]] = set()
        self._written = 0
        self._lost = 0
        self._is_failing = False
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._run(gather_s, retry_s), name="decision log")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        connector: Connector = connect,
        max_bytes: int = MAX_BYTES,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        log_bytes_max: int = LOG_BYTES_MAX,
        gather_s: float = GATHER_S,
        retry_s: float = RETRY_S,
        now_us: Callable[[], int] = utc_now_us,
    ) -> Self:
        """Opens a log, and makes one if there is none.

        Args:
            path: Of the database.
            connector: Opens the connection.
            max_bytes: Of the database; its write-ahead log comes on top, with a little more than `log_bytes_max`.
            max_pending_bytes: What may wait in memory; more is dropped.
            log_bytes_max: Past this size the write-ahead log is copied into the database.
            gather_s: How long a record waits for others.
            retry_s: How long nothing is written after an error.
            now_us: Tells the time, for retention.

        Raises:
            JournalDamagedError: the database is damaged.
            NewerEntryError: a newer server wrote it.
            OSError: the file cannot be used.
        """
        file = await DecisionFile.open(path, connector, max_bytes=max_bytes, log_bytes_max=log_bytes_max, now_us=now_us)
        return cls(file, DecisionQueue(max_pending_bytes), gather_s=gather_s, retry_s=retry_s, now_us=now_us)

    @property
    def written(self) -> int:
        """How many records were written."""
        return self._written

    @property
    def dropped(self) -> int:
        """How many records were put and not written."""
        return self._lost + self._queue.dropped

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._queue)

    @property
    def oldest(self) -> int:
        """The time of the oldest record, on disk or still waiting."""
        return self._file.oldest_us or next((min(each.time_us, self._now_us()) for each in self._queue), 0)

    def put(self, record: DecisionRecord) -> None:
        """Takes a record, or drops and counts it."""
        self._queue.put(record)

    async def last_number(self) -> int:
        """The highest number, written or not."""
        waiting = max((record.number for record in self._queue), default=0)
        return max(waiting, await self._file.last_number())

    async def find(self, number: int, tag: int) -> DecisionRecord | None:
        """The record of a decision, written or not."""
        waiting = [record for record in self._queue if record.number == number]
        found = waiting or await self._file.of_number(number)
        return next((record for record in found if record.tag == tag), None)

    async def between(self, first: int, last: int, limit: int) -> list[DecisionRecord]:
        """Up to `limit` records of a range of numbers, written or not."""
        return [record for record, _ in await self.stored(first, last, limit)]

    async def stored(self, first: int, last: int, limit: int) -> list[tuple[DecisionRecord, int]]:
        """Up to `limit` records of a range of numbers, each with when it was written; now, if it still waits."""
        # Those that wait come first: one that is written meanwhile is found twice, and not never.
        now_us = self._now_us()
        found = {record.number: (record, now_us) for record in self._queue if first <= record.number <= last}
        found |= {each[0].number: each for each in await self._file.between(first, last, limit)}
        return [found[number] for number in sorted(found)[: max(limit, 0)]]

    async def erase(self, identifiers: Sequence[str]) -> int:
        """Rewrites the batches that have records of these customers, and empties the write-ahead log."""
        return await self._finish(self._erase(frozenset(identifiers)))

    async def retain(self, after_us: int) -> int:
        """Deletes batches that were written before a time, and what waits and is older."""
        return await self._finish(self._retain(after_us))

    async def flush(self) -> None:
        """Writes what waits."""
        await self._finish(self._flush())

    async def close(self) -> None:
        """Writes what waits and lets go of the file. Closing twice is closing once."""
        self._queue.close()
        self._closing.set()
        await asyncio.gather(self._task, *self._begun, return_exceptions=True)
        await self._flush()
        await self._file.close()

    async def _run(self, gather_s: float, retry_s: float) -> None:
        while not self._closing.is_set():
            await self._queue.gathered(gather_s)
            await self._write_next()
            if self._is_failing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), retry_s)

    async def _flush(self) -> None:
        remaining = len(self._queue)
        while (count := await self._write_next()) and remaining > count:
            remaining -= count

    async def _write_next(self) -> int:
        """Writes a group of those that wait, or drops and counts it; returns how many are in it."""
        async with self._turn:
            group = self._queue.take()
            if not group:
                return 0
            try:
                await self._file.write(group)
                self._written += len(group)
                self._is_failing = False
            except Exception as error:  # Whatever it is: the next group may have better luck.
                self._lost += len(group)
                await self._note_failure(error)
            finally:
                self._queue.done()
            await self._file.checkpoint_a_long_log()
        return len(group)

    async def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            # An error of the encoder may repeat what it was given.
            what = error if isinstance(error, OSError | JournalDamagedError) else type(error).__name__
            _LOG.error("%s: records of decisions are dropped: %s", self._file, what)
        self._is_failing = True
        with suppress(OSError, JournalDamagedError):
            await self._file.recount()

    async def _erase(self, customers: Collection[str]) -> int:
        async with self._turn:
            removed = self._queue.remove(lambda record: record.query.customer_id in customers)
            low, last = self._file.first - 1, self._file.last
        while low < last:
            high = min(low + _SEARCHED_AT_ONCE, last)
            for batch in await self._file.mentioning(customers, low, high):
                async with self._turn:
                    removed += await self._file.rewrite(batch, customers)
            low = high
        async with self._turn:
            await self._file.recount()
            await self._file.checkpoint()
        return removed

    async def _retain(self, after_us: int) -> int:
        async with self._turn:
            removed = self._queue.remove(lambda record: record.time_us < after_us)
        while True:
            async with self._turn:
                deleted = await self._file.delete_older(after_us)
                await self._file.checkpoint_a_long_log()
            if not deleted:
                break
            removed += sum(deleted)
        async with self._turn:
            await self._file.recount()
        return removed

    async def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does work to its end even if the caller is cancelled: the thread of SQLite would do so anyway."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)
