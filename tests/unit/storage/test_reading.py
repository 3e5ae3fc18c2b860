"""A data folder read by another process, beside the server that writes it."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.domain.journal import JournalDamagedError, NewerEntryError, Record
from server.storage.decision_log import SqliteDecisionLog
from server.storage.folder import DECISIONS, JOURNAL
from server.storage.ledger import FileLedger
from server.storage.reading import DecisionReader, JournalReader, connect_to_read, read_folder
from server.storage.sqlite_journal import SqliteJournal
from tests.support.decision_records import record
from tests.support.entries import received

ENTRIES = [received(number) for number in range(1, 6)]


async def test_entries_are_read_beside_the_writer(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append(ENTRIES)
    async with AsyncExitStack() as stack:
        reader = await JournalReader.open(tmp_path / JOURNAL, stack)
        await journal.append([received(6)])

        found = await reader.read(1, 3), await reader.read(4, 100)

    await journal.close()
    assert found == ([Record(n, ENTRIES[n - 1]) for n in (2, 3, 4)], [Record(5, ENTRIES[4])])
    assert (reader.first, reader.head) == (1, 5)


async def test_entries_that_were_forgotten_are_known_to_be(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append(ENTRIES)
    await journal.truncate(3)
    await journal.close()

    async with AsyncExitStack() as stack:
        reader = await JournalReader.open(tmp_path / JOURNAL, stack)
        with pytest.raises(JournalDamagedError, match="entries 1 to 5"):
            await reader.read(0, 100)

    assert (reader.first, reader.head) == (4, 5)


async def test_nothing_can_be_written(tmp_path: Path) -> None:
    await (await SqliteJournal.open(tmp_path)).close()
    before = (tmp_path / JOURNAL).read_bytes()
    connection = connect_to_read(tmp_path / JOURNAL)

    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM entries")

    connection.close()
    assert (tmp_path / JOURNAL).read_bytes() == before


async def test_log_that_was_not_checkpointed_is_left_to_the_server(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append(ENTRIES)
    log = (tmp_path / f"{JOURNAL}-wal").read_bytes()

    async with AsyncExitStack() as stack:
        reader = await JournalReader.open(tmp_path / JOURNAL, stack)
        assert len(await reader.read(0, 100)) == 5

    assert (tmp_path / f"{JOURNAL}-wal").read_bytes() == log
    await journal.close()


async def test_other_layouts_are_refused(tmp_path: Path) -> None:
    await (await SqliteJournal.open(tmp_path)).close()
    (tmp_path / "other.db").write_bytes(b"")

    async with AsyncExitStack() as stack:
        with pytest.raises(NewerEntryError, match="layout"):
            await JournalReader.open(tmp_path / "other.db", stack)


async def test_records_are_read_beside_the_writer(tmp_path: Path) -> None:
    log = await SqliteDecisionLog.open(tmp_path / DECISIONS)
    for number in (3, 1, 2):
        log.put(record(number))
    await log.flush()
    async with AsyncExitStack() as stack:
        reader = await DecisionReader.open(tmp_path / DECISIONS, stack)

        assert await reader.newest() == 3
        assert [each.number for each in await reader.between(2, 9)] == [2, 3]

    await log.close()


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            await read_folder(tmp_path / "nowhere", None, stack)


async def test_ledger_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "erasures"
    await FileLedger.open(path).begin(["c:1"], 5)
    whole = path.read_bytes()
    path.write_bytes(whole + b"begun 7 half a li")

    view = FileLedger.view(path)

    assert view.covers("c:1", 4)
    assert path.read_bytes() == whole + b"begun 7 half a li"
    assert len(FileLedger.view(tmp_path / "none")) == 0
