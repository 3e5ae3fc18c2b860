"""The decision log of a server that goes on writing, as another process reads it."""

import sqlite3
from pathlib import Path

import pytest

from server.domain.journal import JournalDamagedError
from server.storage.decision_log import SqliteDecisionLog
from server.storage.decision_reader import ReadOnlyDecisionLog
from server.storage.folder import DECISIONS
from tests.support.decision_records import record


async def test_records_are_read_beside_the_writer(tmp_path: Path) -> None:
    log = await SqliteDecisionLog.open(tmp_path / DECISIONS)
    for number in (3, 1, 2):
        log.put(record(number))
    await log.flush()
    reader = await ReadOnlyDecisionLog.open(tmp_path / DECISIONS)

    assert await reader.last_number() == 3
    assert [each.number for each in await reader.between(2, 9)] == [2, 3]

    await reader.close()
    await log.close()


async def test_nothing_is_written_and_the_log_is_left_to_the_server(tmp_path: Path) -> None:
    log = await SqliteDecisionLog.open(tmp_path / DECISIONS)
    log.put(record(1))
    await log.flush()
    path, wal = tmp_path / DECISIONS, tmp_path / f"{DECISIONS}-wal"
    before = path.read_bytes(), wal.read_bytes()

    reader = await ReadOnlyDecisionLog.open(path)
    assert len(await reader.between(0, 9)) == 1
    await reader.close()

    assert (path.read_bytes(), wal.read_bytes()) == before
    await log.close()


async def test_empty_log_has_no_numbers(tmp_path: Path) -> None:
    await (await SqliteDecisionLog.open(tmp_path / DECISIONS)).close()
    reader = await ReadOnlyDecisionLog.open(tmp_path / DECISIONS)

    assert await reader.last_number() == 0
    assert await reader.between(0, 9) == []
    await reader.close()


async def test_missing_damaged_and_older_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no decision log"):
        await ReadOnlyDecisionLog.open(tmp_path / DECISIONS)
    (tmp_path / "text").write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(JournalDamagedError):
        await ReadOnlyDecisionLog.open(tmp_path / "text")
    sqlite3.connect(tmp_path / "older").close()
    with pytest.raises(OSError, match="older"):
        await ReadOnlyDecisionLog.open(tmp_path / "older")
