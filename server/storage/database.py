"""Connections to SQLite, off the event loop, and what its errors mean.

Exactly one connection of a database writes and checkpoints: SQLite before 3.51.3 can corrupt a database when two of
them reset its write-ahead log at once. Others read only, never checkpoint, and are closed before the one that writes.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiosqlite

from server.domain.journal import JournalDamagedError

# At its finest level aiosqlite logs the parameters of statements: identifiers and everything else.
logging.getLogger("aiosqlite").setLevel(logging.INFO)

Connector = Callable[[Path], sqlite3.Connection]
"""Opens a database. Each statement is a transaction of its own unless BEGIN says otherwise."""

# The second is what becomes of an error whose message repeats a damaged name.
ERRORS = (sqlite3.Error, UnicodeDecodeError)

_FOR_EACH = ("busy_timeout = 5000", "temp_store = MEMORY", "wal_autocheckpoint = 0")
_TO_WRITE = ("secure_delete = ON", "journal_mode = WAL", "synchronous = FULL")
_TO_READ = ("query_only = ON",)

# SQLite reports a full disk by the second when the index of the write-ahead log, which is never synced, cannot grow.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_UNREACHABLE = {
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip


def connect(path: Path) -> sqlite3.Connection:
    """The connection of Python's own SQLite."""
    return sqlite3.connect(path, isolation_level=None)


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, so that it never becomes the one that checkpoints, not even as the last."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", isolation_level=None, uri=True)


async def open_writer(path: Path, connector: Connector = connect) -> aiosqlite.Connection:
    """The one connection that writes and checkpoints; a commit returns when it is durable.

    Raises:
        sqlite3.Error: it cannot be opened, or is no database.
    """
    return await _open(path, connector, (*_FOR_EACH, *_TO_WRITE))


async def open_reader(path: Path, connector: Connector = connect) -> aiosqlite.Connection:
    """A connection that only reads, to a database that a writer has open.

    Raises:
        sqlite3.Error: it cannot be opened, or is no database.
    """
    return await _open(path, connector, (*_FOR_EACH, *_TO_READ))


async def _open(path: Path, connector: Connector, pragmas: tuple[str, ...]) -> aiosqlite.Connection:
    connection = await aiosqlite.Connection(partial(connector, path), iter_chunk_size=64)
    try:
        for pragma in pragmas:
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        await connection.close()
        raise
    return connection


def is_full(error: Exception) -> bool:
    """Whether there was no room for what was written; SQLite has rolled it back then."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _FULL


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Says of an error of SQLite which file has it, and whether it is damaged or only out of reach.

    Any statement of ours that SQLite refuses is a sign of damage, as each of them works on what we wrote.

    Raises:
        JournalDamagedError: instead of an error that means damage.
        OSError: instead of any other.
    """
    try:
        yield
    except ERRORS as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        kind = OSError if code in _UNREACHABLE else JournalDamagedError
        raise kind(f"{path}: {error}") from error
