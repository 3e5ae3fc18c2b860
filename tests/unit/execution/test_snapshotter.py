"""The snapshotter: when it takes one, which it keeps, and what the journal may let go of."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from server.domain.journal import Entry, JournalDamagedError, Record, Redacted
from server.execution.snapshot import Capture, restore
from server.execution.snapshotter import SnapshotPolicy, Snapshotter
from server.execution.state import State
from server.storage.memory_journal import MemoryJournal
from tests.support.clock import ManualClock, us_ago
from tests.support.folds import digest
from tests.support.gated_journal import turns

POLICY = SnapshotPolicy(every_entries=10, every=timedelta(minutes=10), kept=2, retention=timedelta(hours=1))


class MemoryStore:
    """Keeps snapshots in memory; writing waits for the gate, and fails as often as it should."""

    def __init__(self) -> None:
        self.kept: dict[int, Capture] = {}
        self.written: list[int] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def offsets(self) -> list[int]:
        return sorted(self.kept, reverse=True)

    def remove(self, offset: int) -> None:
        del self.kept[offset]

    async def write(self, capture: Capture) -> None:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("no space left")
        self.kept[capture.header.offset] = capture._replace(pages=iter(list(capture.pages)))
        self.written.append(capture.header.offset)


class Scene:
    """A state with a journal, and its snapshotter."""

    def __init__(self, policy: SnapshotPolicy = POLICY) -> None:
        self.clock = ManualClock()
        self.state = State({})
        self.journal = MemoryJournal()
        self.store = MemoryStore()
        self.snapshotter = Snapshotter(self.state, self.journal, self.store, self.clock, policy)

    async def write(self, count: int, **ago: float) -> None:
        """Writes entries of some time ago."""
        entries: list[Entry] = [Redacted(us_ago(**ago))] * count
        await self.journal.append(entries)
        for entry in entries:
            self.state.apply(Record(self.state.profile_version + 1, entry))

    async def check(self, *before: Callable[[], Awaitable[None]]) -> None:
        """Lets the snapshotter look once for each step, which comes before."""
        checked = asyncio.create_task(self.snapshotter.run(check_s=0))
        for step in before or (turns,):
            await step()
            await turns()
        checked.cancel()
        await asyncio.gather(checked, return_exceptions=True)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_snapshot_is_taken_after_so_many_entries_and_not_before(scene: Scene) -> None:
    await scene.write(9)
    await scene.check()
    before = list(scene.store.written)
    await scene.write(1)
    await scene.check()

    assert (before, scene.store.written) == ([], [10])


async def test_snapshot_is_taken_after_so_long_if_there_was_any_entry(scene: Scene) -> None:
    scene.clock.advance(minutes=11)
    await scene.check()
    without = list(scene.store.written)
    await scene.write(1)
    await scene.check()
    scene.clock.advance(minutes=9)
    await scene.write(1)
    await scene.check()

    assert (without, scene.store.written) == ([], [1])
    scene.clock.advance(minutes=1)
    await scene.check()
    assert scene.store.written == [1, 2]


async def test_entries_count_from_the_newest_snapshot_that_is_there(scene: Scene) -> None:
    await scene.write(8)
    await scene.snapshotter.take()
    await scene.write(9)
    await scene.check()
    before = list(scene.store.written)
    await scene.write(1)
    await scene.check()

    assert (before, scene.store.written) == ([8], [8, 18])


async def test_only_the_newest_two_are_kept(scene: Scene) -> None:
    for _ in range(4):
        await scene.write(1)
        await scene.snapshotter.take()

    assert scene.store.offsets() == [4, 3]


async def test_one_of_the_same_offset_is_not_taken_again(scene: Scene) -> None:
    await scene.write(3)

    offsets = [await scene.snapshotter.take() for _ in range(2)]

    assert offsets == [3, 3]
    assert scene.store.written == [3]


async def test_snapshot_is_of_the_moment_it_was_begun_while_entries_go_on(scene: Scene) -> None:
    await scene.write(2)
    expected = digest(scene.state.facts)
    scene.store.gate.clear()
    taking = asyncio.create_task(scene.snapshotter.take())
    await turns()
    await scene.write(2)

    scene.store.gate.set()

    assert await taking == 2
    saved = scene.store.kept[2]
    facts = restore(saved.header, saved.pages)
    assert (facts.offset, digest(facts)) == (2, expected)


async def test_snapshots_are_taken_one_at_a_time(scene: Scene) -> None:
    await scene.write(1)
    scene.store.gate.clear()
    first = asyncio.create_task(scene.snapshotter.take())
    await turns()
    await scene.write(1)
    second = asyncio.create_task(scene.snapshotter.take())
    await turns()

    scene.store.gate.set()

    assert [*await asyncio.gather(first, second)] == [1, 2]
    assert scene.store.written == [1, 2]


async def test_snapshot_that_fails_keeps_the_others_and_is_tried_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.write(10)
    await scene.snapshotter.take()
    await scene.write(10)
    scene.store.failures = 2

    await scene.check()

    assert "no space left" in caplog.text
    assert scene.store.offsets() == [20, 10]


async def test_renewed_snapshot_replaces_all_others(scene: Scene) -> None:
    for _ in range(2):
        await scene.write(1)
        await scene.snapshotter.take()
    await scene.write(1)

    removed = await scene.snapshotter.renew()

    assert removed == 2
    assert scene.store.offsets() == [3]


async def test_renewing_writes_one_of_the_same_offset_again(scene: Scene) -> None:
    await scene.write(1)
    await scene.snapshotter.take()

    removed = await scene.snapshotter.renew()

    assert removed == 1
    assert scene.store.written == [1, 1]
    assert scene.store.offsets() == [1]


async def test_renewing_that_fails_leaves_the_others(scene: Scene) -> None:
    await scene.write(1)
    await scene.snapshotter.take()
    await scene.write(1)
    scene.store.failures = 1

    with pytest.raises(OSError, match="no space"):
        await scene.snapshotter.renew()

    assert scene.store.offsets() == [1]


async def test_journal_lets_go_behind_the_oldest_snapshot_that_is_kept(scene: Scene) -> None:
    for _ in range(3):
        await scene.write(5, hours=2)
        await scene.snapshotter.take()
    await scene.write(5, hours=2)

    await scene.snapshotter.let_go()

    assert scene.store.offsets() == [15, 10]
    assert scene.journal.first == 11


async def test_journal_keeps_everything_while_there_is_one_snapshot_only(scene: Scene) -> None:
    await scene.write(5, hours=2)
    await scene.snapshotter.take()

    await scene.snapshotter.let_go()

    assert scene.journal.first == 1


async def test_journal_keeps_what_is_younger_than_its_retention(scene: Scene) -> None:
    await scene.write(4, minutes=61)
    await scene.write(6, minutes=59)
    await scene.snapshotter.take()
    await scene.write(5)
    await scene.snapshotter.take()

    await scene.snapshotter.let_go()
    before = scene.journal.first
    scene.clock.advance(minutes=2)
    await scene.snapshotter.let_go()

    assert (before, scene.journal.first) == (5, 11)


async def test_letting_go_twice_is_letting_go_once(scene: Scene) -> None:
    for _ in range(2):
        await scene.write(5, hours=2)
        await scene.snapshotter.take()

    await scene.snapshotter.let_go()
    await scene.snapshotter.let_go()

    assert scene.journal.first == 6


async def test_due_snapshot_lets_go_of_the_journal_by_itself(scene: Scene) -> None:
    async def more() -> None:
        await scene.write(10, hours=2)

    await scene.check(more, more)

    assert scene.store.offsets() == [20, 10]
    assert scene.journal.first == 11


class RottenJournal(MemoryJournal):
    """Has an entry that is not what was written."""

    async def read(self, after: int, limit: int) -> list[Record]:
        raise JournalDamagedError("entry 1 is not what was written")


async def test_damage_that_is_found_while_letting_go_does_not_end_snapshots(scene: Scene) -> None:
    scene.journal = RottenJournal()
    scene.snapshotter = Snapshotter(scene.state, scene.journal, scene.store, scene.clock, POLICY)

    async def more() -> None:
        await scene.write(10, hours=2)

    await scene.check(more, more, more)

    assert scene.store.written == [10, 20, 30]
