"""Layouts of databases, numbered. A database says in `user_version` how many steps it has behind it."""

from collections.abc import Sequence

import aiosqlite

from server.domain.journal import NewerEntryError
from server.storage.codec import PUBLISHED_KIND, REJECTED_KIND

Step = tuple[str, ...]
"""The statements that lead from one layout to the next. A step that was released never changes."""

JOURNAL: tuple[Step, ...] = (
    (
        """
        CREATE TABLE entries (
            offset INTEGER PRIMARY KEY,
            kind INTEGER NOT NULL,
            version INTEGER NOT NULL,
            source TEXT,
            checksum INTEGER NOT NULL,
            body BLOB NOT NULL
        ) STRICT
        """,
        f"CREATE INDEX rejected ON entries (offset, source) WHERE kind = {REJECTED_KIND}",
        # At most one row: the last offset that was forgotten. It tells the head when all entries are.
        "CREATE TABLE truncated (one INTEGER PRIMARY KEY CHECK (one = 1), through INTEGER, checksum INTEGER) STRICT",
    ),
    (f"CREATE INDEX published ON entries (offset) WHERE kind = {PUBLISHED_KIND}",),
)

VAULT: tuple[Step, ...] = (
    (
        """
        CREATE TABLE texts (
            identifier TEXT NOT NULL,
            attribute TEXT NOT NULL,
            event_time_us INTEGER NOT NULL,
            stored_us INTEGER NOT NULL,
            sealed BLOB,
            PRIMARY KEY (identifier, attribute)
        ) STRICT
        """,
        # One row: what tells its key from others, the time of the last scrub, and whether one is due.
        """
        CREATE TABLE vault (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            key_check BLOB,
            scrubbed_us INTEGER NOT NULL,
            is_due INTEGER NOT NULL
        ) STRICT
        """,
        "INSERT INTO vault (one, key_check, scrubbed_us, is_due) VALUES (1, NULL, 0, 0)",
    ),
)

DECISIONS: tuple[Step, ...] = (
    (
        # SQLite keeps the first 4,061 bytes of a row in a page with other rows, moves them about there, and leaves
        # copies in unused bytes. The rest has pages of its own, which a deletion overwrites. `blank` fills the first
        # part, so that whatever says something of a customer is in the second.
        """
        CREATE TABLE batches (
            batch INTEGER PRIMARY KEY,
            gone INTEGER NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL,
            oldest_us INTEGER NOT NULL,
            newest_us INTEGER NOT NULL,
            records INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            version INTEGER NOT NULL,
            checksum INTEGER NOT NULL,
            blank BLOB NOT NULL,
            queries BLOB NOT NULL,
            columns BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX numbers ON batches (last, first)",
        "CREATE INDEX times ON batches (newest_us, records, bytes)",
        # Old batches go in the statement that brings a new one, which then takes their pages: half the writing.
        """
        CREATE TRIGGER make_room BEFORE INSERT ON batches WHEN NEW.gone > 0
        BEGIN DELETE FROM batches WHERE batch <= NEW.gone; END
        """,
    ),
)


async def require_all_taken(connection: aiosqlite.Connection, steps: Sequence[Step], name: str) -> None:
    """Refuses a database that has another layout than the newest, for those who may not change it.

    Raises:
        NewerEntryError: a newer server wrote it.
        OSError: an older server wrote it, and nobody has opened it with this version yet.
    """
    ((taken,),) = await connection.execute_fetchall("PRAGMA user_version")
    if taken > len(steps):
        raise NewerEntryError(f"{name} has layout {taken}, this server knows up to {len(steps)}: a newer one wrote it")
    if taken < len(steps):
        raise OSError(f"{name} has layout {taken}, and is read in layout {len(steps)}: start this server on it once")


async def migrate(connection: aiosqlite.Connection, steps: Sequence[Step], name: str) -> None:
    """Takes the steps that a database has not taken yet, each whole or not at all.

    Raises:
        NewerEntryError: it has taken more than are known here; `name` says in the message what it is.
        sqlite3.Error: a step failed.
    """
    ((taken,),) = await connection.execute_fetchall("PRAGMA user_version")
    if not 0 <= taken <= len(steps):
        raise NewerEntryError(f"{name} has layout {taken}, this server knows up to {len(steps)}: a newer one wrote it")
    for number, step in enumerate(steps[taken:], taken + 1):
        await _take(connection, step, number)


async def _take(connection: aiosqlite.Connection, step: Step, number: int) -> None:
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        for statement in (*step, f"PRAGMA user_version = {number}"):
            await connection.execute_fetchall(statement)
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        if connection.in_transaction:
            await connection.execute_fetchall("ROLLBACK")
        raise
