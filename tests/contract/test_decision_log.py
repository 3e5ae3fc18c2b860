"""What every decision log does, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.domain.decision_log import DecisionLog
from server.storage.decision_log import SqliteDecisionLog
from server.storage.memory_decision_log import MemoryDecisionLog
from tests.support.decision_records import record
from tests.support.entries import exact

ALL = 2**63 - 1


class Now:
    """A clock that is as late as the record that was put last."""

    time_us = 0

    def __call__(self) -> int:
        return self.time_us


NOW = Now()


@pytest.fixture(params=["sqlite", "memory"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DecisionLog]:
    path = tmp_path / "decisions.db"
    NOW.time_us = 0
    in_memory = request.param == "memory"
    opened: DecisionLog = MemoryDecisionLog(now_us=NOW) if in_memory else await SqliteDecisionLog.open(path, now_us=NOW)
    yield opened
    await opened.close()


@pytest.fixture(params=["waiting", "written"])
def state(request: pytest.FixtureRequest) -> str:
    """Whether what was put still waits when it is asked for."""
    return str(request.param)


async def put(log: DecisionLog, state: str, *records: Any) -> None:
    for each in records:
        NOW.time_us = each.time_us
        log.put(each)
    if state == "written":
        await log.flush()


async def numbers(log: DecisionLog, first: int = 0, last: int = ALL, limit: int = ALL) -> list[int]:
    return [found.number for found in await log.between(first, last, limit)]


async def test_new_log_is_empty(log: DecisionLog) -> None:
    assert (log.written, log.dropped, log.oldest) == (0, 0, 0)
    assert await log.find(1, 7) is None
    assert await numbers(log) == []
    assert await log.erase(["cookie:1"]) == 0
    assert await log.retain(10) == 0
    await log.flush()


async def test_record_is_found_as_it_was_put(log: DecisionLog, state: str) -> None:
    await put(log, state, *(record(number) for number in range(1, 6)))

    assert exact(await log.find(3, 21)) == exact(record(3))


async def test_last_number_is_the_highest_that_was_put(log: DecisionLog, state: str) -> None:
    before = await log.last_number()

    await put(log, state, record(3), record(9), record(7))

    assert (before, await log.last_number()) == (0, 9)


async def test_nobody_finds_a_decision_by_its_number_alone(log: DecisionLog, state: str) -> None:
    await put(log, state, record(3))

    assert await log.find(3, 22) is None
    assert await log.find(4, 21) is None


async def test_largest_numbers_and_tags_are_found(log: DecisionLog, state: str) -> None:
    await put(log, state, record(5), record(5)._replace(number=ALL, tag=2**64 - 1))

    found = await log.find(ALL, 2**64 - 1)

    assert found is not None
    assert (found.number, found.tag) == (ALL, 2**64 - 1)


async def test_what_was_put_is_counted_when_it_is_written(log: DecisionLog) -> None:
    await put(log, "written", *(record(number) for number in range(1, 301)))

    assert (log.written, log.dropped) == (300, 0)


async def test_range_of_numbers_is_in_their_order_up_to_the_limit(log: DecisionLog, state: str) -> None:
    await put(log, state, *(record(number) for number in range(1, 400, 2)))

    assert await numbers(log) == list(range(1, 400, 2))
    assert await numbers(log, 4, 11) == [5, 7, 9, 11]
    assert await numbers(log, 250, ALL, 3) == [251, 253, 255]
    assert await numbers(log, 250, 252, 3) == [251]
    for first, last, limit in ((400, ALL, 3), (0, 0, 3), (9, 5, 3), (0, ALL, 0), (0, ALL, -1)):
        assert await numbers(log, first, last, limit) == []


async def test_range_goes_over_what_is_written_and_what_waits(log: DecisionLog) -> None:
    await put(log, "written", *(record(number) for number in range(1, 5)))
    await put(log, "waiting", *(record(number) for number in range(5, 9)))

    assert await numbers(log, 3, 6) == [3, 4, 5, 6]
    assert await numbers(log, 3, ALL, 3) == [3, 4, 5]


async def test_decisions_that_were_put_in_another_order_are_found(log: DecisionLog) -> None:
    for group in ((3, 1, 8), (2, 9, 4), (5, 7, 6)):
        await put(log, "written", *map(record, group))

    assert await numbers(log) == list(range(1, 10))
    assert await numbers(log, 2, 8, 4) == [2, 3, 4, 5]
    for number in range(1, 10):
        assert exact(await log.find(number, number * 7)) == exact(record(number))


async def test_erased_customers_are_gone_and_others_stay(log: DecisionLog, state: str) -> None:
    customers = ["cookie:1", "cookie:11", "loyalty:ä", "cookie:"]
    records = [record(number, customers[number % 4]) for number in range(1, 301)]
    await put(log, state, *records)

    removed = await log.erase(["cookie:1", "loyalty:ä", "nobody"])

    kept = [each.number for each in records if each.query.customer_id in ("cookie:11", "cookie:")]
    assert removed == 150
    assert await numbers(log) == kept
    for number in kept[:3]:
        assert exact(await log.find(number, number * 7)) == exact(records[number - 1])
    assert await log.erase(["cookie:1", "loyalty:ä"]) == 0


async def test_who_is_only_mentioned_in_a_query_is_not_its_customer(log: DecisionLog, state: str) -> None:
    of_another = record(1, "cookie:2")
    await put(log, state, of_another._replace(query=of_another.query._replace(candidate_offer_ids=("cookie:1",))))

    assert await log.erase(["cookie:1"]) == 0
    assert await numbers(log) == [1]


async def test_erased_records_do_not_count_as_dropped(log: DecisionLog) -> None:
    await put(log, "waiting", record(1))
    await log.erase(["cookie:1"])
    await log.flush()

    assert log.dropped == 0


async def test_customer_who_comes_back_is_kept(log: DecisionLog, state: str) -> None:
    await put(log, state, record(1))
    await log.erase(["cookie:1"])
    await put(log, state, record(2))

    assert await numbers(log) == [2]


async def test_old_records_are_forgotten(log: DecisionLog) -> None:
    for start in range(1, 100, 10):
        await put(log, "written", *(record(number) for number in range(start, start + 10)))

    assert await log.retain(51_000) == 50
    assert await numbers(log) == list(range(51, 101))
    assert log.oldest == 51_000
    assert await log.retain(51_000) == 0


async def test_old_records_that_wait_are_forgotten(log: DecisionLog) -> None:
    await put(log, "waiting", record(1), record(2), record(3))

    assert await log.retain(2_500) == 2
    assert await numbers(log) == [3]


@pytest.mark.parametrize("decided_for", [0, 10**15], ids=["the past", "the future"])
async def test_records_are_kept_by_when_they_came(log: DecisionLog, decided_for: int) -> None:
    NOW.time_us = 50_000
    log.put(record(1, time_us=decided_for))
    assert log.oldest == min(decided_for, 50_000)
    await log.flush()

    assert log.oldest == min(decided_for, 50_000)
    assert [stored for _, stored in await log.stored(0, ALL, ALL)] == [50_000]
    assert await log.retain(50_000) == 0
    assert await numbers(log) == [1]
    assert await log.retain(50_001) == 1


async def test_oldest_is_known_and_moves(log: DecisionLog, state: str) -> None:
    await put(log, state, record(4), record(5))
    assert log.oldest == 4_000

    await put(log, state, record(6))
    assert log.oldest == 4_000

    await log.retain(10_000)
    assert log.oldest == 0


async def test_record_that_is_none_is_dropped_and_counted(log: DecisionLog) -> None:
    usual: Any = record(2)
    await put(log, "written", record(1))

    log.put(usual._replace(query=usual.query._replace(customer_id=object())))
    log.put(usual._replace(query=usual.query._replace(customer_id="\ud800")))
    log.put(None)  # type: ignore[arg-type]
    await put(log, "written", record(3))

    assert (log.written, log.dropped) == (2, 3)
    assert await numbers(log) == [1, 3]


async def test_readers_find_every_record_at_every_moment(log: DecisionLog) -> None:
    """Whether it waits, is being encoded, is being written, or has been."""
    count = 600
    done = asyncio.Event()

    async def write() -> None:
        for number in range(1, count + 1):
            log.put(record(number))
            if number % 40 == 0:
                await asyncio.gather(log.flush(), asyncio.sleep(0))
        done.set()

    async def read() -> None:
        while not done.is_set():
            newest = (await numbers(log, 0, ALL))[-1:]
            for number in newest:
                assert await numbers(log) >= list(range(1, number + 1))
                assert await log.find(number, number * 7) is not None
            await asyncio.sleep(0)

    await asyncio.gather(write(), read(), read())

    assert await numbers(log) == list(range(1, count + 1))


async def test_closing_twice_is_closing_once(log: DecisionLog) -> None:
    await put(log, "waiting", record(1))

    await log.close()
    await log.close()

    assert log.written == 1


async def test_log_is_what_it_was_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    log = await SqliteDecisionLog.open(path)
    await put(log, "written", *(record(number) for number in range(1, 200)))
    await put(log, "waiting", record(200))
    await log.close()

    again = await SqliteDecisionLog.open(path)

    assert (again.written, again.oldest) == (0, 1_000)
    assert exact(tuple(await again.between(0, ALL, ALL))) == exact(tuple(record(number) for number in range(1, 201)))
    await put(again, "written", record(201))
    assert await numbers(again, 199) == [199, 200, 201]
    await again.close()


async def test_memory_keeps_the_newest_that_fit() -> None:
    log = MemoryDecisionLog(max_bytes=50_000)

    await put(log, "written", *(record(number) for number in range(1, 101)))

    kept = await numbers(log)
    assert 5 < len(kept) < 20
    assert kept == list(range(101 - len(kept), 101))
    assert log.oldest == kept[0] * 1_000
    assert (log.written, log.dropped) == (100, 0)
