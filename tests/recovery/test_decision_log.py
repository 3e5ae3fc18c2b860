"""Whatever a disk does to the decision log: what is there afterwards is what was put, and nothing else is affected."""

import random
import shutil
from collections import Counter
from pathlib import Path

from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage.decision_log import SqliteDecisionLog
from tests.recovery.power import Disk
from tests.support.decision_records import record
from tests.support.entries import exact

ALL = 2**63 - 1
NAME = "decisions.db"
FLIPS = 300


async def put(log: SqliteDecisionLog, first: int, last: int) -> None:
    for number in range(first, last + 1):
        log.put(record(number))
    await log.flush()


async def kept(path: Path) -> list[int]:
    """The numbers of the records in a log, which are as they were put."""
    log = await SqliteDecisionLog.open(path)
    try:
        records = await log.between(0, ALL, ALL)
        assert exact(tuple(records)) == exact(tuple(record(each.number) for each in records))
        return [each.number for each in records]
    finally:
        await log.close()


async def test_power_cut_at_any_moment_leaves_a_log_that_can_be_read(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    rng = random.Random(8)
    disk = Disk(live, rng)
    cuts: list[Path] = []

    def perhaps_cut() -> None:
        if rng.random() < 0.1:
            cuts.append(tmp_path / f"cut{len(cuts)}")
            cuts[-1].mkdir()
            disk.after_cut(cuts[-1])

    disk.on_change = perhaps_cut
    with disk.attached() as connector:
        log = await SqliteDecisionLog.open(live / NAME, connector=connector, max_bytes=150_000, log_bytes_max=40_000)
        for first in range(1, 200, 10):
            await put(log, first, first + 9)
        assert log.dropped == 0
        await log.close()

    left = [await kept(cut / NAME) for cut in cuts]

    assert len(cuts) > 20
    assert any(left)
    for numbers in left:
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True


async def test_full_disk_drops_records_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path, random.Random(8))
    with disk.attached() as connector:
        log = await SqliteDecisionLog.open(tmp_path / NAME, connector=connector)
        await put(log, 1, 10)

        disk.is_full = True
        await put(log, 11, 20)
        assert (log.written, log.dropped) == (10, 10)
        assert await log.find(5, 35) is not None
        disk.is_full = False
        await put(log, 21, 30)

        assert (log.written, log.dropped) == (20, 10)
        await log.close()
    assert await kept(tmp_path / NAME) == [*range(1, 11), *range(21, 31)]


async def test_flips_of_a_bit_are_noticed_or_hide_what_nobody_can_know_of(tmp_path: Path) -> None:
    """A flip in the bounds of a batch, or in the pages that lead to it, may hide it: numbers may have gaps."""
    log = await SqliteDecisionLog.open(tmp_path / NAME)
    for first in range(1, 60, 10):
        await put(log, first, first + 9)
    await log.close()
    rng = random.Random(20261122)
    content = (tmp_path / NAME).read_bytes()
    outcomes: Counter[str] = Counter()

    for number in range(FLIPS):
        folder = tmp_path / str(number)
        folder.mkdir()
        flipped = bytearray(content)
        bit = rng.randrange(len(content) * 8)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / NAME).write_bytes(flipped)
        try:
            outcomes["all" if await kept(folder / NAME) == list(range(1, 61)) else "hidden"] += 1
        except (JournalDamagedError, NewerEntryError):
            outcomes["noticed"] += 1
        shutil.rmtree(folder)

    assert outcomes["noticed"] > FLIPS / 2
    assert outcomes["hidden"] < FLIPS / 50
