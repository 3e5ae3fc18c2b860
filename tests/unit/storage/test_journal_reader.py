"""The journal of a server that goes on writing, as another process reads it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage import database, journal_reader
from server.storage.acknowledged import Acknowledged
from server.storage.database import connect, connect_read_only
from server.storage.folder import ACKNOWLEDGED, JOURNAL
from server.storage.journal_reader import ReadOnlyJournal
from server.storage.sqlite_journal import SqliteJournal
from tests.support.entries import received


async def filled(folder: Path, count: int = 5) -> SqliteJournal:
    journal = await SqliteJournal.open(folder)
    await journal.append([received(number) for number in range(1, count + 1)])
    return journal


async def offsets(journal: ReadOnlyJournal, after: int = 0, limit: int = 100) -> list[int]:
    return [record.offset for record in await journal.read(after, limit)]


def change(folder: Path, statement: str) -> None:
    with closing(connect(folder / JOURNAL)) as connection:
        connection.execute(statement)


async def test_entries_are_those_that_there_were_when_it_was_opened(tmp_path: Path) -> None:
    writer = await filled(tmp_path)
    reader = await ReadOnlyJournal.open(tmp_path)

    await writer.append([received(6)])

    assert (reader.first, reader.head) == (1, 5)
    assert await reader.read(0, 100) == await writer.read(0, 5)
    assert await offsets(reader, 3, 1) == [4]
    assert await offsets(reader, 5) == []
    await reader.close()
    await writer.close()


async def test_transactions_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_reader, "READ_AT_ONCE", 2)
    writer = await filled(tmp_path)
    reader = await ReadOnlyJournal.open(tmp_path)

    assert [await offsets(reader, after) for after in (0, 2, 4)] == [[1, 2], [3, 4], [5]]
    await reader.close()
    await writer.close()


async def test_writer_may_checkpoint_and_truncate_beside_a_reader_that_is_not_reading(tmp_path: Path) -> None:
    writer = await filled(tmp_path)
    reader = await ReadOnlyJournal.open(tmp_path)
    await reader.read(0, 100)

    await writer.rewrite(await writer.read(0, 1))
    await writer.checkpoint()

    assert (tmp_path / f"{JOURNAL}-wal").stat().st_size == 0
    assert await offsets(reader) == [1, 2, 3, 4, 5]
    await writer.truncate(3)
    with pytest.raises(JournalDamagedError, match="entry 1 is missing"):
        await reader.read(0, 100)
    assert await offsets(reader, 3) == [4, 5]
    await reader.close()
    await writer.close()


async def test_journal_that_begins_later_is_read_from_there(tmp_path: Path) -> None:
    writer = await filled(tmp_path)
    await writer.truncate(3)

    reader = await ReadOnlyJournal.open(tmp_path)

    assert (reader.first, reader.head) == (4, 5)
    assert await offsets(reader) == [4, 5]
    await reader.close()
    await writer.close()


async def test_nothing_is_written_and_no_log_is_put_away_where_no_server_runs(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    # As a killed server leaves it: entries in the log that are not in the database yet.
    with closing(connect(tmp_path / JOURNAL)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("DELETE FROM entries WHERE offset = 5")
        killed = {name: (tmp_path / name).read_bytes() for name in (JOURNAL, f"{JOURNAL}-wal")}
    for name, content in killed.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / ACKNOWLEDGED).unlink()

    reader = await ReadOnlyJournal.open(tmp_path)
    found = await offsets(reader)
    await reader.close()

    assert found == [1, 2, 3, 4]
    assert {name: (tmp_path / name).read_bytes() for name in killed} == killed
    assert not (tmp_path / ACKNOWLEDGED).exists()


def test_connection_cannot_write_and_never_checkpoints_by_itself(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "a%20b?.db")) as connection:
        connection.execute("CREATE TABLE t (a)")

    with closing(connect_read_only(tmp_path / "a%20b?.db")) as reader:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO t VALUES (1)")
        assert reader.execute("SELECT count(*) FROM t").fetchall() == [(0,)]

    assert "wal_autocheckpoint = 0" in database._FOR_EACH


async def test_missing_journal_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=JOURNAL):
        await ReadOnlyJournal.open(tmp_path)

    assert list(tmp_path.iterdir()) == []


async def test_acknowledged_entries_that_are_missing_are_told(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    with Acknowledged.open(tmp_path / ACKNOWLEDGED) as note:
        note.write(7)

    with pytest.raises(JournalDamagedError, match="entries 6 to 7 were acknowledged and are missing"):
        await ReadOnlyJournal.open(tmp_path)


async def test_damaged_entry_is_named(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    change(tmp_path, "UPDATE entries SET body = zeroblob(length(body)) WHERE offset = 3")

    reader = await ReadOnlyJournal.open(tmp_path)

    with pytest.raises(JournalDamagedError, match="entry 3"):
        await reader.read(0, 100)
    await reader.close()


@pytest.mark.parametrize(("layout", "kind"), [(99, NewerEntryError), (0, OSError)])
async def test_database_of_another_layout_is_refused_and_not_migrated(
    tmp_path: Path, layout: int, kind: type[Exception]
) -> None:
    await (await filled(tmp_path)).close()
    change(tmp_path, f"PRAGMA user_version = {layout}")

    with pytest.raises(kind, match=f"has layout {layout}"):
        await ReadOnlyJournal.open(tmp_path)


async def test_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"not a database" * 100)

    with pytest.raises(JournalDamagedError, match=JOURNAL):
        await ReadOnlyJournal.open(tmp_path)
