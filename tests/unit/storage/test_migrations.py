import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from server.domain.journal import NewerEntryError
from server.storage.database import open_writer
from server.storage.migrations import JOURNAL, Step, migrate

FIRST: Step = ("CREATE TABLE one (x)", "INSERT INTO one VALUES (1)")
SECOND: Step = ("INSERT INTO one VALUES (2)",)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    opened = await open_writer(tmp_path / "some.db")
    yield opened
    await opened.close()


async def state(connection: aiosqlite.Connection) -> tuple[int, list[int]]:
    ((taken,),) = await connection.execute_fetchall("PRAGMA user_version")
    return taken, [x for (x,) in await connection.execute_fetchall("SELECT x FROM one ORDER BY x")]


async def test_each_step_is_taken_once(connection: aiosqlite.Connection) -> None:
    await migrate(connection, [FIRST], "some.db")
    assert await state(connection) == (1, [1])

    for _ in range(2):
        await migrate(connection, [FIRST, SECOND], "some.db")
        assert await state(connection) == (2, [1, 2])


async def test_step_that_fails_is_taken_back_whole(connection: aiosqlite.Connection) -> None:
    await migrate(connection, [FIRST], "some.db")

    with pytest.raises(sqlite3.OperationalError):
        await migrate(connection, [FIRST, (*SECOND, "INSERT INTO nowhere VALUES (1)")], "some.db")

    assert await state(connection) == (1, [1])


@pytest.mark.parametrize("taken", [2, 1_000, -1])
async def test_database_of_a_newer_server_is_refused(connection: aiosqlite.Connection, taken: int) -> None:
    await connection.execute_fetchall(f"PRAGMA user_version = {taken}")

    with pytest.raises(NewerEntryError, match=rf"some.db has layout {taken}, this server knows up to 1: a newer"):
        await migrate(connection, [FIRST], "some.db")


async def test_layout_of_the_journal_is_the_second(connection: aiosqlite.Connection) -> None:
    await migrate(connection, JOURNAL, "journal.db")

    ((taken,),) = await connection.execute_fetchall("PRAGMA user_version")
    assert taken == 2
