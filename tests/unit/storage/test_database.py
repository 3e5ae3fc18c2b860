import sqlite3
from pathlib import Path

import pytest

from server.domain.journal import JournalDamagedError
from server.storage.database import damage_named, is_full, open_reader, open_writer


async def pragmas(connection: object, *names: str) -> dict[str, object]:
    execute = connection.execute_fetchall  # type: ignore[attr-defined]
    return {name: (await execute(f"PRAGMA {name}"))[0][0] for name in names}


async def test_writer_commits_durably_deletes_for_good_and_leaves_checkpoints_to_us(tmp_path: Path) -> None:
    writer = await open_writer(tmp_path / "some.db")

    settings = await pragmas(writer, "journal_mode", "synchronous", "secure_delete", "wal_autocheckpoint", "query_only")

    full = 2
    assert list(settings.values()) == ["wal", full, 1, 0, 0]
    await writer.close()


async def test_reader_neither_writes_nor_checkpoints(tmp_path: Path) -> None:
    writer = await open_writer(tmp_path / "some.db")
    await writer.execute_fetchall("CREATE TABLE one (x)")
    reader = await open_reader(tmp_path / "some.db")

    assert await pragmas(reader, "query_only", "wal_autocheckpoint") == {"query_only": 1, "wal_autocheckpoint": 0}
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.execute_fetchall("INSERT INTO one VALUES (1)")

    await reader.close()
    await writer.close()


async def test_no_log_is_left_when_the_writer_has_closed_last(tmp_path: Path) -> None:
    writer = await open_writer(tmp_path / "some.db")
    await writer.execute_fetchall("CREATE TABLE one (x)")
    reader = await open_reader(tmp_path / "some.db")

    await reader.close()
    assert (tmp_path / "some.db-wal").stat().st_size > 0
    await writer.close()

    assert [path.name for path in tmp_path.iterdir()] == ["some.db"]


def error(code: int) -> sqlite3.OperationalError:
    made = sqlite3.OperationalError("it went wrong")
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR])
def test_damage_is_named_with_its_file(code: int) -> None:
    with pytest.raises(JournalDamagedError, match=r"some\.db: it went wrong"), damage_named(Path("some.db")):
        raise error(code)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_READ])
def test_what_is_out_of_reach_is_no_damage(code: int) -> None:
    with pytest.raises(OSError, match=r"some\.db: it went wrong"), damage_named(Path("some.db")):
        raise error(code)


def test_full_disk_is_told_from_a_failing_one() -> None:
    assert is_full(error(sqlite3.SQLITE_FULL))
    assert is_full(error(sqlite3.SQLITE_IOERR_SHMSIZE))
    assert not is_full(error(sqlite3.SQLITE_IOERR_FSYNC))
    assert not is_full(sqlite3.OperationalError("no code"))
