"""The vault in a SQLite database of its own. `memory_vault.py` has its twin in memory.

A text is encrypted before it comes here and decrypted when it is read. Each batch is one statement, as in the journal.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import aiosqlite
import msgspec

from server.domain.clock import microseconds_of
from server.domain.journal import JournalDamagedError, journal_failed
from server.domain.vault import Holding, OpenedText, SealedText
from server.execution.state import utc_now
from server.storage.database import Connector, connect, damage_named, open_reader, open_writer
from server.storage.memory_vault import MemoryVault
from server.storage.migrations import VAULT as STEPS
from server.storage.migrations import migrate
from server.storage.remains import MAX_NEEDLES, Remains
from server.storage.sealing import VaultKeyError, VaultSealer
from server.storage.writer import Writer

__all__ = ["MemoryVault", "SqliteVault"]

Clock = Callable[[], datetime]

_PUT = """
    INSERT INTO texts (identifier, attribute, event_time_us, stored_us, sealed)
    SELECT value ->> 0, value ->> 1, value ->> 2, :now_us,
    CASE WHEN value ->> 3 THEN substr(:bodies, value ->> 3, value ->> 4) END
    FROM json_each(:places) WHERE true ORDER BY key
    ON CONFLICT (identifier, attribute) DO UPDATE SET
    event_time_us = excluded.event_time_us, stored_us = excluded.stored_us, sealed = excluded.sealed
    WHERE excluded.event_time_us >= event_time_us
"""
_OF = "FROM texts WHERE identifier IN (SELECT value FROM json_each(?))"
_READ = f"SELECT identifier, attribute, event_time_us, sealed {_OF} AND sealed IS NOT NULL ORDER BY 1, 2"
_ROWS = f"SELECT identifier, attribute, sealed {_OF}"
_HOLDINGS = """
    SELECT identifier, max(stored_us) FROM texts WHERE identifier > ? GROUP BY identifier ORDER BY identifier LIMIT ?
"""
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class SqliteVault:
    """`Vault` in a file that no other process uses."""

    def __init__(
        self, path: Path, sealer: VaultSealer, writer: Writer, reader: aiosqlite.Connection, clock: Clock
    ) -> None:
        """Takes over what `open` has opened."""
        self._path = path
        self._sealer = sealer
        self._writer = writer
        self._reader = reader
        self._readers_turn = asyncio.Lock()
        self._clock = clock
        self._begun: set[asyncio.Task[Any]] = set()
        self._opened = AsyncExitStack()
        self._remains = Remains()
        self._scrubbed_us = 0

    @classmethod
    async def open(
        cls, path: Path, sealer: VaultSealer, clock: Clock = utc_now, *, connector: Connector = connect
    ) -> Self:
        """Opens a vault, and makes one if there is none.

        Raises:
            VaultKeyError: it was made with another key.
            JournalDamagedError: the database is damaged.
            NewerEntryError: a newer server wrote it.
            OSError: the file cannot be used.
        """
        async with AsyncExitStack() as opened:
            with damage_named(path):
                connection = await open_writer(path, connector)
                opened.push_async_callback(connection.close)
                await migrate(connection, STEPS, str(path))
                reader = await open_reader(path, connector)
                opened.push_async_callback(reader.close)
                vault = cls(path, sealer, Writer(path, connection), reader, clock)
                await vault._begin(connection)
            vault._opened = opened.pop_all()
        return vault

    @property
    def scrubbed_us(self) -> int:
        """The time of the last scrub."""
        return self._scrubbed_us

    async def put(self, texts: Sequence[SealedText]) -> None:
        """Keeps texts, each unless there is one with a later event time; takes back everything of some identifiers."""
        taken_back, kept = in_order(texts)
        batch = _batch(kept, microseconds_of(self._clock()))
        await self._finish(self._take_back(taken_back, batch) if taken_back else self._put(batch))

    async def read(self, identifiers: Sequence[str]) -> dict[str, list[OpenedText]]:
        """The texts of identifiers, decrypted."""
        found: dict[str, list[OpenedText]] = {}
        for identifier, attribute, time_us, sealed in await self._finish(self._select(_READ, _json(identifiers))):
            text = OpenedText(attribute, time_us, self._open(identifier, attribute, sealed))
            found.setdefault(identifier, []).append(text)
        return found

    async def count(self, identifiers: Sequence[str]) -> int:
        """How many texts and times of texts there are of identifiers."""
        ((count,),) = await self._finish(self._select(f"SELECT count(*) {_OF}", _json(identifiers)))
        return int(count)

    async def holdings(self, after: str, limit: int) -> list[Holding]:
        """Up to `limit` identifiers behind one that something is held of."""
        return [Holding(*row) for row in await self._finish(self._select(_HOLDINGS, after, limit))]

    async def scrub(self, time_us: int) -> None:
        """Empties the write-ahead log, and writes the file anew if anything that was taken back is still in it."""
        await self._finish(self._scrub(time_us))

    async def close(self) -> None:
        """Finishes what was begun and lets go of the file. Closing twice is closing once."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        await self._opened.aclose()

    # Writing

    async def _put(self, batch: "_Batch") -> None:
        async with self._writer.turn() as connection:
            await connection.execute_fetchall(_PUT, batch._asdict())

    async def _take_back(self, identifiers: list[str], batch: "_Batch") -> None:
        names = _json(identifiers)
        async with self._writer.turn() as connection:
            await connection.execute_fetchall("BEGIN IMMEDIATE")
            gone = list(await connection.execute_fetchall(_ROWS, (names,)))
            await connection.execute_fetchall(f"DELETE {_OF}", (names,))
            if gone:
                # Without any, a scrub has nothing to look for.
                await connection.execute_fetchall("UPDATE vault SET is_due = 1")
            await connection.execute_fetchall(_PUT, batch._asdict())
            await connection.execute_fetchall("COMMIT")
        for identifier, attribute, sealed in gone:
            self._remains.add(identifier, attribute, sealed)

    async def _scrub(self, time_us: int) -> None:
        remains, self._remains = self._remains, Remains()
        try:
            await self._checkpoint()
            if not await self._is_clean_of(remains):
                _LOG.info("%s: is written anew, without what was taken back", self._path)
                async with self._writer.turn() as connection:
                    await connection.execute_fetchall("VACUUM")
            async with self._writer.turn() as connection:
                statement = "UPDATE vault SET scrubbed_us = max(scrubbed_us, ?), is_due = ?"
                await connection.execute_fetchall(statement, (time_us, bool(self._remains)))
            await self._checkpoint()
        except BaseException:
            self._remains.update(remains)
            raise
        self._scrubbed_us = max(self._scrubbed_us, time_us)

    async def _is_clean_of(self, remains: Remains) -> bool:
        if not remains:
            return True
        if remains.unknown or len(remains) > MAX_NEEDLES:
            return False
        rows = await self._selected(_ROWS, (_json(remains.identifiers()),))
        held = {(identifier, attribute) for identifier, attribute, _ in rows}
        return not await asyncio.to_thread(remains.are_in, self._path, held)

    async def _checkpoint(self) -> None:
        async with self._readers_turn:
            complete = await self._writer.checkpoint()
        if not complete:
            _LOG.error("%s: another process reads it, so that what was taken back is still in its log", self._path)
            raise journal_failed()

    # Reading

    async def _select(self, statement: str, *parameters: object) -> list[Sequence[Any]]:
        return await self._selected(statement, parameters)

    async def _selected(self, statement: str, parameters: tuple[object, ...]) -> list[Sequence[Any]]:
        async with self._readers_turn:
            with damage_named(self._path):
                return list(await self._reader.execute_fetchall(statement, parameters))

    def _open(self, identifier: str, attribute: str, sealed: bytes) -> str:
        try:
            return self._sealer.open(identifier, attribute, sealed)
        except ValueError as error:
            raise JournalDamagedError(f"{self._path}: a text of attribute {attribute} does not open: {error}") from None

    # Opening

    async def _begin(self, connection: aiosqlite.Connection) -> None:
        ((check, self._scrubbed_us, is_due),) = await connection.execute_fetchall(
            "SELECT key_check, scrubbed_us, is_due FROM vault"
        )
        if check is None:
            await connection.execute_fetchall("UPDATE vault SET key_check = ?", (self._sealer.check,))
        elif check != self._sealer.check:
            raise VaultKeyError(
                f"{self._path} was made with another vault key: its texts cannot be opened with this one"
            )
        # A server before this one has taken back what this one does not know, so the next scrub does not ask.
        self._remains.unknown = bool(is_due)

    # Tasks

    async def _finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does work to its end even if the caller is cancelled: half a transaction would be in the next one's way."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)


class _Batch(NamedTuple):
    """Texts as parameters. `places` is JSON: `[identifier, attribute, event time, start, length]` of each."""

    places: str
    bodies: bytes
    now_us: int


def in_order(texts: Sequence[SealedText]) -> tuple[list[str], list[SealedText]]:
    """The identifiers of which everything is taken back, and the texts that are not taken back with it."""
    taken_back: dict[str, int] = {}
    for place, text in enumerate(texts):
        if not text.attribute:
            taken_back[text.identifier] = place
    kept = [
        text for place, text in enumerate(texts) if text.attribute and place > taken_back.get(text.identifier, -1)
    ]  # fmt: skip
    return list(taken_back), kept


def _batch(texts: Iterable[SealedText], now_us: int) -> _Batch:
    places, bodies, start = [], [], 1
    for identifier, attribute, event_time_us, sealed in texts:
        size = len(sealed or b"")
        places.append((identifier, attribute, event_time_us, start if sealed is not None else 0, size))
        bodies.append(sealed or b"")
        start += size
    return _Batch(_json(places), b"".join(bodies), now_us)


def _json(value: Sequence[object]) -> str:
    return msgspec.json.encode(value).decode()
