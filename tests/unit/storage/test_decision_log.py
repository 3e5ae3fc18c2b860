"""The decision log in SQLite: its batches, its bounds, what is left in its file, and what it does when that fails."""

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage import decision_rows
from server.storage.database import connect
from server.storage.decision_codec import Encoded, waiting
from server.storage.decision_log import SqliteDecisionLog
from server.storage.decision_queue import GROUP_RECORDS
from tests.support.decision_records import record

ALL = 2**63 - 1


class Statements:
    """Connections that note their statements, and fail when they are told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failing: dict[str, int] = {}

    def __call__(self, path: Path) -> sqlite3.Connection:
        statements = self

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
                statements.seen.append(statement.split(maxsplit=1)[0])
                for start, code in statements.failing.items():
                    if statement.strip().startswith(start):
                        error = sqlite3.OperationalError("it went wrong")
                        error.sqlite_errorcode = code
                        raise error
                return super().execute(statement, *parameters)

        return sqlite3.connect(path, isolation_level=None, factory=Connection)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


async def put(log: SqliteDecisionLog, *records: DecisionRecord) -> None:
    for each in records:
        log.put(each)
    await log.flush()


async def numbers(log: SqliteDecisionLog) -> list[int]:
    return [found.number for found in await log.between(0, ALL, ALL)]


def change(path: Path, statement: str, *parameters: object) -> None:
    """Changes the database behind the log's back."""
    with closing(connect(path)) as connection:
        connection.execute(statement, parameters)


def content(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


# Writing


async def test_batch_is_one_statement_however_many_records_it_has(path: Path) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements)
    await put(log, record(1))
    statements.seen.clear()

    await put(log, *(record(number) for number in range(2, 2 + GROUP_RECORDS)))

    assert statements.seen == ["INSERT"]
    await log.close()


async def test_batch_that_makes_room_is_one_statement(path: Path) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements, max_bytes=100_000)
    await put(log, *(record(number) for number in range(1, 100)))
    await put(log, *(record(number) for number in range(100, 150)))
    statements.seen.clear()

    await put(log, record(150))

    assert statements.seen.count("INSERT") == 1
    assert not {"BEGIN", "DELETE", "COMMIT"} & set(statements.seen)
    await log.close()


async def test_full_batch_is_written_without_waiting_for_more(path: Path) -> None:
    log = await SqliteDecisionLog.open(path, gather_s=3_600)

    for number in range(1, GROUP_RECORDS + 1):
        log.put(record(number))
    async with asyncio.timeout(10):
        while log.written < GROUP_RECORDS:
            await asyncio.sleep(0)

    await log.close()


async def test_single_record_is_written_after_a_while(path: Path) -> None:
    log = await SqliteDecisionLog.open(path, gather_s=0.001)

    for number in range(1, 4):
        log.put(record(number))
        async with asyncio.timeout(10):
            while log.written < number:
                await asyncio.sleep(0)

    await log.close()


async def test_flush_that_is_given_up_goes_on(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    log.put(record(1))

    flush = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    flush.cancel()
    await log.close()

    assert (log.written, log.dropped) == (1, 0)


async def test_put_after_closing_is_dropped_and_counted(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    await log.close()

    log.put(record(1))

    assert log.dropped == 1


async def test_power_cut_is_not_waited_for(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)

    ((synchronous,),) = await log._file._connection.execute_fetchall("PRAGMA synchronous")

    assert synchronous == 1
    await log.close()


# Bounds


async def test_what_waits_is_bounded_and_the_rest_is_dropped_and_counted(path: Path) -> None:
    weight = waiting(record(1))[2]
    log = await SqliteDecisionLog.open(path, max_pending_bytes=10 * weight + weight // 2)

    for number in range(1, 31):
        log.put(record(number))
    assert log.dropped == 20
    await log.flush()
    for number in range(31, 41):
        log.put(record(number))
    await log.flush()

    assert (log.written, log.dropped) == (20, 20)
    assert await numbers(log) == [*range(1, 11), *range(31, 41)]
    await log.close()


async def test_records_that_are_erased_while_they_wait_make_room(path: Path) -> None:
    weight = waiting(record(1))[2]
    log = await SqliteDecisionLog.open(path, max_pending_bytes=2 * weight)
    for number in (1, 2):
        log.put(record(number))

    await log.erase(["cookie:1"])
    for number in (3, 4):
        log.put(record(number))

    assert log.dropped == 0
    await log.close()


async def test_file_stays_within_its_bytes_and_the_oldest_go_first(path: Path) -> None:
    max_bytes = 1_000_000
    log = await SqliteDecisionLog.open(path, max_bytes=max_bytes, log_bytes_max=100_000)
    rng = random.Random(3)
    number = 0

    for _ in range(120):
        size = rng.randrange(1, 60)
        await put(log, *(record(number + place) for place in range(1, size + 1)))
        number += size

    kept = await numbers(log)
    assert kept == list(range(kept[0], number + 1))
    assert log.oldest == kept[0] * 1_000
    assert len(kept) * 1_200 > max_bytes / 2
    await log.close()
    assert max_bytes / 2 < path.stat().st_size < max_bytes * 1.05


async def test_room_is_made_for_by_a_log_that_was_opened_again_with_less(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    for start in range(1, 501, 50):
        await put(log, *(record(number) for number in range(start, start + 50)))
    await log.close()

    log = await SqliteDecisionLog.open(path, max_bytes=150_000)
    await put(log, record(501))

    assert await numbers(log) == list(range(451, 502))
    await log.close()


async def test_room_is_made_after_an_erasure_and_a_failure(path: Path) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements, max_bytes=400_000)
    for start in range(1, 201, 50):
        await put(log, *(record(number, f"cookie:{number % 10}") for number in range(start, start + 50)))
    await log.erase([f"cookie:{number}" for number in range(5)])
    statements.failing["INSERT"] = sqlite3.SQLITE_FULL
    await put(log, *(record(number) for number in range(201, 211)))
    statements.failing.clear()

    for start in range(300, 700, 50):
        await put(log, *(record(number) for number in range(start, start + 50)))

    kept = await numbers(log)
    assert kept == list(range(kept[0], 700))
    assert log.oldest == kept[0] * 1_000
    assert log.dropped == 10
    await log.close()
    assert path.stat().st_size < 500_000


async def test_log_in_front_of_the_file_is_emptied(path: Path) -> None:
    log = await SqliteDecisionLog.open(path, log_bytes_max=50_000)

    for start in range(1, 300, 20):
        await put(log, *(record(number) for number in range(start, start + 20)))
        assert path.with_name("decisions.db-wal").stat().st_size < 150_000

    await log.close()


# Erasing


async def test_nothing_is_left_of_erased_customers_among_thousands(path: Path) -> None:
    rng = random.Random(4711)
    now_us = 0
    log = await SqliteDecisionLog.open(path, max_bytes=3_000_000, log_bytes_max=500_000, now_us=lambda: now_us)
    customers = [f"cookie:{rng.getrandbits(96):024x}" for _ in range(400)]
    records = [record(number, rng.choice(customers), tag=rng.getrandbits(64)) for number in range(1, 3_001)]
    gone = set(rng.sample(customers, 40))
    erased = [each for each in records if each.query.customer_id in gone]

    start = 0
    while start < len(records):
        size = rng.choice([1, 2, 3, 30, 100])
        now_us = records[start : start + size][-1].time_us
        await put(log, *records[start : start + size])
        start += size
        if rng.random() < 0.1:
            await log.retain(records[max(start - 2_000, 0)].time_us)
    for customer in gone:
        await log.erase([customer])

    left = content(path)
    assert not [one for one in gone if one.encode() in left]
    for each in erased:
        for trace in (each.variables, each.propensity, each.tag.to_bytes(8, "little")):
            assert bytes(trace) not in left
    assert not set(await numbers(log)) & {each.number for each in erased}
    await log.close()


async def test_nothing_is_left_of_erased_customers_whose_batches_are_small(path: Path) -> None:
    """Rows that share a page are moved when others go, and deleting them does not reach where they were before.

    It happens to one in thousands; this seed is one that finds it in SQLite 3.40 if rows are not filled up.
    """
    rng = random.Random(1)
    log = await SqliteDecisionLog.open(path)
    customers = [f"cookie:{rng.getrandbits(96):024x}" for _ in range(600)]
    number = 0
    while number < 600:
        for _ in range(rng.choice([1, 1, 2, 3])):
            if number < 600:
                number += 1
                log.put(_small(record(number, customers[number - 1]), rng.choice([0, 10, 50, 200, 500])))
        await log.flush()
    gone = rng.sample(customers, 450)

    for start in range(0, len(gone), 3):
        await log.erase(gone[start : start + 3])

    left = content(path)
    assert not [one for one in gone if one.encode() in left]
    assert len(await numbers(log)) == 150
    await log.close()


def _small(of: DecisionRecord, variables: int) -> DecisionRecord:
    none = of.lost[:0]
    floats = none.astype(np.float32)
    first = slice(1)
    return of._replace(
        variables=np.arange(variables, dtype=np.float32), truth=of.truth[:5], capped=none, capped_by=none,
        shown=of.shown[first], shown_at=of.shown_at[first],
        propensity=of.propensity[first], expected_value=of.expected_value[first],
        lost=none, lost_propensity=floats, lost_expected_value=floats,
    )  # fmt: skip


async def test_what_was_deleted_by_retention_is_not_left_either(path: Path) -> None:
    now_us = 0
    log = await SqliteDecisionLog.open(path, max_bytes=200_000, now_us=lambda: now_us)
    for start in range(1, 1_000, 50):
        now_us = (start + 49) * 1_000
        await put(log, *(record(number, f"cookie:secret{number:04}") for number in range(start, start + 50)))
    await log.retain(990_000)
    await log.erase(["nobody"])

    left = content(path)

    kept = await numbers(log)
    assert [number for number in range(1, 1_001) if f"cookie:secret{number:04}".encode() in left] == kept
    await log.close()


async def test_batch_that_cannot_be_read_is_deleted_if_an_erased_customer_is_in_it(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    await put(log, record(1, "cookie:secret"), record(2))
    await put(log, record(3, "cookie:secret"), record(4))
    change(path, "UPDATE batches SET checksum = checksum + 1 WHERE batch = 1")

    assert await log.erase(["cookie:secret"]) == 2

    assert await numbers(log) == [4]
    assert b"secret" not in content(path)
    await log.close()


async def test_erasure_says_so_if_the_write_ahead_log_cannot_be_emptied(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    await put(log, record(1))
    await log._file._connection.execute_fetchall("PRAGMA busy_timeout = 0")

    with closing(connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM batches").fetchall()
        with pytest.raises(OSError, match="another process reads it"):
            await log.erase(["cookie:1"])

    assert await log.erase(["cookie:1"]) == 0
    assert b"cookie:1" not in content(path)
    await log.close()


async def test_pages_that_would_keep_something_back_are_refused(path: Path) -> None:
    change(path, "PRAGMA page_size = 8192")
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("CREATE TABLE one (x)")

    with pytest.raises(OSError, match="pages of 8192 bytes"):
        await SqliteDecisionLog.open(path)


# Damage


@pytest.mark.parametrize("column", ["first", "last", "oldest_us", "version", "checksum", "queries", "columns"])
async def test_damaged_batch_is_named_and_not_served(path: Path, column: str) -> None:
    log = await SqliteDecisionLog.open(path)
    await put(log, record(1), record(3), record(5))
    await put(log, record(8))
    changed = f"zeroblob(length({column}))" if column in ("queries", "columns") else f"{column} + 1"
    change(path, f"UPDATE batches SET {column} = {changed} WHERE batch = 1")

    for reading in (log.find(3, 21), log.between(2, 4, 10)):
        with pytest.raises(JournalDamagedError, match=r"decisions\.db: batch 1 is not what was written"):
            await reading

    assert await log.find(8, 56) is not None
    await log.close()


async def test_batches_that_changed_places_are_damage(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    await put(log, record(1))
    change(path, "UPDATE batches SET batch = 2")

    with pytest.raises(JournalDamagedError, match="batch 2 is not what was written"):
        await log.find(1, 7)
    await log.close()


async def test_batch_of_a_newer_server_is_named(path: Path) -> None:
    log = await SqliteDecisionLog.open(path)
    await put(log, record(1))
    change(path, "UPDATE batches SET version = 99")
    with closing(connect(path)) as connection:
        ((row),) = connection.execute(decision_rows.OF_BATCH, (1,)).fetchall()
    encoded = Encoded(*row[5:6], *row[7:])
    change(path, "UPDATE batches SET checksum = ?", decision_rows.checksum(1, decision_rows.Bounds(*row[1:5]), encoded))

    with pytest.raises(NewerEntryError, match=r"decisions\.db: batch 1: .* version 99"):
        await log.find(1, 7)
    await log.close()


async def test_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(os.urandom(8_192))

    with pytest.raises(JournalDamagedError, match=r"decisions\.db"):
        await SqliteDecisionLog.open(path)


async def test_file_of_a_newer_server_is_refused(path: Path) -> None:
    await (await SqliteDecisionLog.open(path)).close()
    change(path, "PRAGMA user_version = 99")

    with pytest.raises(NewerEntryError, match="layout 99"):
        await SqliteDecisionLog.open(path)


# Failing


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT])
async def test_records_are_dropped_while_the_database_fails_and_kept_when_it_works_again(
    path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements)
    await put(log, record(1))

    statements.failing["INSERT"] = code
    await put(log, record(2))
    await put(log, record(3), record(4))
    assert (log.written, log.dropped) == (1, 3)
    statements.failing.clear()
    await put(log, record(5))

    assert (log.written, log.dropped) == (2, 3)
    assert await numbers(log) == [1, 5]
    assert caplog.text.count("records of decisions are dropped") == 1
    await log.close()


async def test_log_tries_again_by_itself(path: Path) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements, gather_s=0, retry_s=0)
    statements.failing["INSERT"] = sqlite3.SQLITE_FULL

    number = 0
    async with asyncio.timeout(10):
        while log.dropped < 3:
            number += 1
            log.put(record(number))
            await asyncio.sleep(0)
        statements.failing.clear()
        while log.written < 3:
            number += 1
            log.put(record(number))
            await asyncio.sleep(0)

    await log.close()
    assert log.written + log.dropped == number


async def test_nothing_is_written_for_a_while_after_a_failure(path: Path) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements, gather_s=0, retry_s=3_600)
    statements.failing["INSERT"] = sqlite3.SQLITE_FULL
    log.put(record(1))
    async with asyncio.timeout(10):
        while not log.dropped:
            await asyncio.sleep(0)
    tries = statements.seen.count("INSERT")

    for number in range(2, 500):
        log.put(record(number))
        await asyncio.sleep(0)

    assert statements.seen.count("INSERT") == tries
    statements.failing.clear()
    await log.close()
    assert (log.written, log.dropped) == (498, 1)


async def test_record_of_wrong_types_takes_its_batch_with_it_and_says_nothing_of_anybody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = await SqliteDecisionLog.open(path)

    await put(log, record(1), record(2)._replace(model_id=b"\xff", tag="cookie:secret"))
    await put(log, record(3))

    assert (log.written, log.dropped) == (1, 2)
    assert "records of decisions are dropped: error" in caplog.text
    assert "secret" not in caplog.text
    await log.close()


async def test_log_that_cannot_be_copied_stays_long_and_takes_records(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    statements = Statements()
    log = await SqliteDecisionLog.open(path, connector=statements, log_bytes_max=1)
    statements.failing["PRAGMA wal_checkpoint"] = sqlite3.SQLITE_IOERR

    await put(log, record(1))

    assert (log.written, log.dropped) == (1, 0)
    assert "its log stays long" in caplog.text
    statements.failing.clear()
    await log.close()
