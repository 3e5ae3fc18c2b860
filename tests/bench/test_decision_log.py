"""What a record costs: CPU of the whole process, for records of 100 variables, 200 clauses, 10 offers and 32 lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from server.storage.decision_codec import decode, encode, waiting
from server.storage.decision_log import SqliteDecisionLog
from server.storage.decision_queue import GROUP_RECORDS, DecisionQueue
from tests.support.decision_records import record

RECORDS = 10 * GROUP_RECORDS


@pytest.fixture(scope="module")
def records() -> list[Any]:
    return [record(number, f"cookie:{number:024x}") for number in range(1, RECORDS + 1)]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.benchmark(group="decision log: us for one put")
def test_put(benchmark: Any, records: list[Any], runner: asyncio.Runner) -> None:
    """The part that a decision waits for."""

    async def fresh() -> DecisionQueue:
        return DecisionQueue(2**30)

    queue = runner.run(fresh())

    benchmark(queue.put, records[0])


@pytest.mark.benchmark(group="decision log: us for a batch of 256")
def test_encode(benchmark: Any, records: list[Any]) -> None:
    group = [waiting(each) for each in records[:GROUP_RECORDS]]

    encoded = benchmark(encode, group)

    assert len(encoded.queries + encoded.columns) / GROUP_RECORDS < 1_400


@pytest.mark.benchmark(group="decision log: us for a batch of 256")
def test_decode(benchmark: Any, records: list[Any]) -> None:
    encoded = encode([waiting(each) for each in records[:GROUP_RECORDS]])

    assert len(benchmark(decode, encoded)) == GROUP_RECORDS


@pytest.mark.benchmark(group="decision log: us for a batch of 256")
def test_decode_one(benchmark: Any, records: list[Any]) -> None:
    encoded = encode([waiting(each) for each in records[:GROUP_RECORDS]])

    assert len(benchmark(decode, encoded, 77, 77)) == 1


@pytest.mark.benchmark(group="decision log: CPU us for 2,560 records, all in", timer=process_time)
def test_put_encode_write_and_checkpoint(
    benchmark: Any, records: list[Any], runner: asyncio.Runner, tmp_path: Path
) -> None:
    """With the oldest batches going, as they do from some time on."""
    log = runner.run(SqliteDecisionLog.open(tmp_path / "decisions.db", max_bytes=20_000_000))

    async def write() -> None:
        for start in range(0, RECORDS, GROUP_RECORDS):
            for each in records[start : start + GROUP_RECORDS]:
                log.put(each)
            await log.flush()

    benchmark(lambda: runner.run(write()))

    assert log.dropped == 0
    runner.run(log.close())
