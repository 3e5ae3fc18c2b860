import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DeltasReceived, JournalDamagedError, NewerEntryError, Record, Redacted
from server.storage import rows
from server.storage.codec import Encoded
from server.storage.database import connect
from server.storage.folder import ACKNOWLEDGED, JOURNAL
from server.storage.sqlite_journal import SqliteJournal
from tests.support.entries import received, visits


class Statements:
    """Connections that note their statements, one for each awaited call, and fail when they are told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failing: dict[str, int] = {}

    def __call__(self, path: Path) -> sqlite3.Connection:
        statements = self

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
                statements.seen.append(statement.strip())
                for start, code in statements.failing.items():
                    if statement.strip().startswith(start):
                        error = sqlite3.OperationalError("it went wrong")
                        error.sqlite_errorcode = code
                        raise error
                return super().execute(statement, *parameters)

        return sqlite3.connect(path, isolation_level=None, factory=Connection)

    def count(self, start: str) -> int:
        return sum(statement.startswith(start) for statement in self.seen)


async def refusal(journal: SqliteJournal) -> ErrorReason:
    with pytest.raises(OpportuneError) as refused:
        await journal.append([received(0)])
    return refused.value.reason


def change(folder: Path, statement: str, *parameters: object) -> None:
    """Changes the database behind the journal's back."""
    with closing(connect(folder / JOURNAL)) as connection:
        connection.execute(statement, parameters)


async def changed(folder: Path, statement: str, *parameters: object) -> SqliteJournal:
    """A journal of five entries that was changed while it was closed."""
    journal = await SqliteJournal.open(folder)
    await journal.append([received(number) for number in range(1, 6)])
    await journal.close()
    change(folder, statement, *parameters)
    return await SqliteJournal.open(folder)


@pytest.mark.parametrize("count", [1, 64, 1_024])
async def test_batch_is_one_statement_however_many_entries_it_has(tmp_path: Path, count: int) -> None:
    statements = Statements()
    journal = await SqliteJournal.open(tmp_path, connector=statements)
    statements.seen.clear()

    await journal.append([received(number) for number in range(count)])

    assert [statement[:6] for statement in statements.seen] == ["INSERT"]
    await journal.close()


async def test_any_bytes_and_checksums_go_through_one_statement_unchanged(tmp_path: Path) -> None:
    rng = random.Random(1)
    keys = [tuple(rng.randbytes(rng.randrange(40)) for _ in range(3)) for _ in range(300)]
    entries = [DeltasReceived(0, "web", 1, (visits("c:1", 1.0)._replace(match_keys=each),)) for each in keys]
    journal = await SqliteJournal.open(tmp_path)

    await journal.append(entries)

    assert [record.entry for record in await journal.read(0, 300)] == entries
    await journal.close()


@pytest.mark.parametrize("value", [-(2**63), -1, 0, 2**63 - 1])
def test_whole_numbers_of_64_bits_go_through_a_batch(value: int) -> None:
    selected = rows.INSERT[rows.INSERT.index("SELECT") :]
    with closing(connect(Path(":memory:"))) as connection:
        row = connection.execute(selected, {"places": f"[[{value},1,1,null,{value},1,0]]", "bodies": b""}).fetchone()

    assert (row[0], row[4]) == (value, value)


async def test_full_disk_refuses_a_batch_and_takes_the_next_when_there_is_room(tmp_path: Path) -> None:
    limits: list[Callable[[int], object]] = []

    def connector(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        limits.append(lambda pages: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())
        return connection

    journal = await SqliteJournal.open(tmp_path, connector=connector)
    await journal.append([received(1)])
    limits[0](8)

    large = received(2, *["cookie:1"] * 2_000)
    with pytest.raises(OpportuneError) as refused:
        await journal.append([received(2), large])
    assert refused.value.reason is ErrorReason.JOURNAL_FULL
    assert journal.head == 1

    limits[0](1_000)
    await journal.append([large])
    assert await journal.read(0, 10) == [Record(1, received(1)), Record(2, large)]
    await journal.close()


async def test_journal_whose_write_failed_takes_nothing_any_more_but_can_be_read(tmp_path: Path) -> None:
    statements = Statements()
    journal = await SqliteJournal.open(tmp_path, connector=statements)
    await journal.append([received(1)])

    statements.failing = {"INSERT": sqlite3.SQLITE_IOERR_FSYNC}
    assert await refusal(journal) is ErrorReason.JOURNAL_FAILED
    statements.failing = {}
    assert await refusal(journal) is ErrorReason.JOURNAL_FAILED

    with pytest.raises(OpportuneError):
        await journal.truncate(1)
    assert (journal.first, journal.head) == (1, 1)
    assert await journal.read(0, 10) == [Record(1, received(1))]
    await journal.close()


async def test_failure_within_a_transaction_is_rolled_back(tmp_path: Path) -> None:
    statements = Statements()
    journal = await SqliteJournal.open(tmp_path, connector=statements)
    await journal.append([received(1), received(2)])

    statements.failing = {"INSERT OR REPLACE INTO truncated": sqlite3.SQLITE_FULL}
    with pytest.raises(OpportuneError):
        await journal.truncate(1)

    assert statements.count("ROLLBACK") == 1
    assert (journal.first, len(await journal.read(0, 10))) == (1, 2)
    await journal.append([received(3)])
    await journal.close()


async def test_append_that_nobody_waits_for_any_more_leaves_no_gap(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)

    for number in range(1, 30):
        task = asyncio.create_task(journal.append([received(number)]))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await journal.append([received(0)])

    offsets = [record.offset for record in await journal.read(0, 100)]
    assert offsets == list(range(1, journal.head + 1))
    await journal.close()


async def test_long_log_is_copied_into_the_database_by_itself(tmp_path: Path) -> None:
    statements = Statements()
    journal = await SqliteJournal.open(tmp_path, connector=statements, log_bytes_max=20_000)
    statements.seen.clear()

    await journal.append([received(1)])
    assert statements.count("PRAGMA wal_checkpoint") == 0
    await journal.append([received(2, *["cookie:1"] * 2_000)])
    await journal.close()

    assert statements.count("PRAGMA wal_checkpoint") == 1


async def test_checkpoint_empties_the_log(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1)])
    log = tmp_path / f"{JOURNAL}-wal"
    assert log.stat().st_size > 0

    await journal.checkpoint()

    assert log.stat().st_size == 0
    await journal.close()


@pytest.mark.parametrize("deltas", [1, 30, 300])
async def test_nothing_of_replaced_entries_is_left_in_any_file(tmp_path: Path, deltas: int) -> None:
    rng = random.Random(deltas)
    journal = await SqliteJournal.open(tmp_path)
    for start in range(1, 121, 10):
        await journal.append(
            [received(n, *[f"secret:{n:04}"] * rng.randint(1, deltas)) for n in range(start, start + 10)]
        )
    offsets = rng.sample(range(1, 121), 60)

    for start, end in ((0, 20), (20, 21), (21, 60)):
        await journal.rewrite([Record(offset, Redacted(offset)) for offset in offsets[start:end]])

        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert [offset for offset in offsets if f"secret:{offset:04}".encode() in stored] == offsets[end:]
    await journal.close()


async def test_nothing_of_forgotten_entries_is_left_after_a_checkpoint(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(n, *[f"secret:{n:04}"] * 40) for n in range(1, 61)])

    await journal.truncate(60)
    await journal.checkpoint()

    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    await journal.close()


async def test_changed_entry_is_damage_that_is_named(tmp_path: Path) -> None:
    journal = await changed(tmp_path, "UPDATE entries SET body = x'00' WHERE offset = 3")

    assert len(await journal.read(0, 2)) == 2
    with pytest.raises(JournalDamagedError, match=r"journal\.db: entry 3 is not what was written"):
        await journal.read(0, 3)
    await journal.close()


@pytest.mark.parametrize("column", ["kind", "version", "checksum"])
async def test_any_changed_number_is_damage(tmp_path: Path, column: str) -> None:
    journal = await changed(tmp_path, f"UPDATE entries SET {column} = {column} + 1 WHERE offset = 3")

    with pytest.raises(JournalDamagedError, match="entry 3"):
        await journal.read(0, 10)
    await journal.close()


async def test_missing_entry_is_damage_that_is_named(tmp_path: Path) -> None:
    journal = await changed(tmp_path, "DELETE FROM entries WHERE offset = 3")

    with pytest.raises(JournalDamagedError, match=r"journal\.db: entry 3 is missing"):
        await journal.read(0, 10)
    await journal.close()


async def test_missing_first_entry_is_noticed_when_opening(tmp_path: Path) -> None:
    with pytest.raises(JournalDamagedError, match="entry 1 is missing; the first is 2"):
        await changed(tmp_path, "DELETE FROM entries WHERE offset = 1")


async def test_missing_last_entries_are_noticed_when_opening_and_can_be_accepted(tmp_path: Path) -> None:
    with pytest.raises(JournalDamagedError, match="entries 4 to 5 were acknowledged and are missing"):
        await changed(tmp_path, "DELETE FROM entries WHERE offset > 3")
    with pytest.raises(JournalDamagedError):
        await SqliteJournal.open(tmp_path)

    journal = await SqliteJournal.open(tmp_path, accept_loss=True)
    assert journal.head == 3
    await journal.append([received(0)])
    await journal.close()

    again = await SqliteJournal.open(tmp_path)
    assert again.head == 4
    await again.close()


async def test_lost_database_is_noticed(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1)])
    await journal.close()
    (tmp_path / JOURNAL).unlink()

    with pytest.raises(JournalDamagedError, match="entries 1 to 1 were acknowledged and are missing"):
        await SqliteJournal.open(tmp_path)


async def test_unreadable_note_is_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1)])
    await journal.close()
    assert not caplog.records
    (tmp_path / ACKNOWLEDGED).write_bytes(b"nonsense")

    again = await SqliteJournal.open(tmp_path)

    assert again.head == 1
    assert "what was acknowledged last is not known" in caplog.text
    await again.close()


async def test_changed_bound_of_a_journal_without_entries_is_damage(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1)])
    await journal.truncate(1)
    await journal.close()
    change(tmp_path, "UPDATE truncated SET through = 3")

    with pytest.raises(JournalDamagedError, match="up to which entries are forgotten is damaged"):
        await SqliteJournal.open(tmp_path)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + bytes(5_000)])
async def test_file_that_is_no_database_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(content)

    with pytest.raises(JournalDamagedError, match=r"journal\.db: file is not a database"):
        await SqliteJournal.open(tmp_path)


async def test_entry_of_a_newer_server_is_named(tmp_path: Path) -> None:
    newer = Encoded(99, 1, b"x")
    statement = "UPDATE entries SET kind = ?, version = ?, body = ?, checksum = ? WHERE offset = 2"
    journal = await changed(tmp_path, statement, *newer, rows.checksum(2, newer))

    with pytest.raises(NewerEntryError, match=r"journal\.db: entry 2: an entry of kind 99, version 1: a newer server"):
        await journal.read(0, 10)
    await journal.close()


async def test_database_of_a_newer_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NewerEntryError, match=r"journal\.db has layout 3"):
        await changed(tmp_path, "PRAGMA user_version = 3")


async def test_missing_folder_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        await SqliteJournal.open(tmp_path / "nowhere")


async def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)

    await journal.close()
    await journal.close()
