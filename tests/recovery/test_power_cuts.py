"""Whenever the power goes, each entry that was acknowledged is there afterwards, and nothing is there by half."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Entry, JournalDamagedError, Record, Redacted
from server.storage.folder import ACKNOWLEDGED
from server.storage.sqlite_journal import SqliteJournal
from tests.recovery.power import Disk
from tests.support.entries import received, rejected

STEPS = 25
CUTS_PER_CHANGE = 0.12


class State(NamedTuple):
    """What a journal holds."""

    first: int = 1
    entries: tuple[Entry, ...] = ()

    @property
    def head(self) -> int:
        return self.first + len(self.entries) - 1


class Cut(NamedTuple):
    """What a power cut has left, and the states that may be found there: before or after what was under way."""

    folder: Path
    allowed: tuple[State, ...]


class Scenario:
    """Does things to a journal while the power goes at random moments, each of them the last in its own world."""

    def __init__(self, folder: Path, seed: int, *, synchronous: str = "FULL") -> None:
        self.rng = random.Random(seed)
        self.folder = folder / f"live{seed}"
        self.folder.mkdir()
        self.disk = Disk(self.folder, random.Random(seed))
        self.disk.synchronous = synchronous
        self.disk.on_change = self._perhaps_cut
        self.cuts: list[Cut] = []
        self.state = State()
        self._allowed: tuple[State, ...] = (self.state,)
        self._notes: list[bytes] = []
        self._number = 0

    async def run(self) -> None:
        """Takes the steps, up to one after which there is nothing more to take."""
        with self.disk.attached() as self.connector:
            await self._open()
            try:
                for _ in range(STEPS):
                    await self._reopen_perhaps()
                    self.disturb()
                    if not await self._step_or_refusal():
                        break
            finally:
                await self.journal.close()
            self._cut()

    async def _open(self) -> None:
        self.journal = await SqliteJournal.open(self.folder, connector=self.connector, log_bytes_max=60_000)

    async def _reopen_perhaps(self) -> None:
        if self.rng.random() < 0.1 and not self.disk.syncs_that_fail:
            await self.journal.close()
            await self._open()

    async def _step_or_refusal(self) -> bool:
        try:
            await self._step()
        except OpportuneError as error:
            return await self.goes_on_after(error)
        return True

    def disturb(self) -> None:
        """What is wrong with the disk from the next step on."""

    async def goes_on_after(self, error: OpportuneError) -> bool:
        """Whether to go on after a refusal; there must be none on a disk that works."""
        raise error

    async def _step(self) -> None:
        step = self.rng.choice(["append"] * 6 + ["checkpoint", "rewrite", "truncate"])
        if step == "append":
            entries = tuple(self._new_entries())
            self._begin(self.state._replace(entries=self.state.entries + entries))
            await self.journal.append(entries)
        elif step == "checkpoint":
            await self.journal.checkpoint()
        elif step == "rewrite":
            records = [Record(offset, Redacted(offset)) for offset in self._some_offsets()]
            self._begin(rewritten(self.state, records))
            await self.journal.rewrite(records)
        else:
            through = self.rng.randint(self.state.first - 1, self.state.first + len(self.state.entries) // 2)
            self._begin(truncated(self.state, through))
            await self.journal.truncate(through)
        self.settle(self._allowed[-1])

    def _begin(self, after: State) -> None:
        self._allowed = (self.state, after)

    def settle(self, state: State) -> None:
        """Nothing is under way any more."""
        self.state, self._allowed = state, (state,)

    def _new_entries(self) -> Iterator[Entry]:
        for _ in range(self.rng.choice([1, 1, 2, 6])):
            self._number += 1
            if self.rng.random() < 0.2:
                yield rejected(self._number)
            else:
                yield received(self._number, *["cookie:1"] * self.rng.choice([1, 3, 30, 300]))

    def _some_offsets(self) -> list[int]:
        offsets = range(self.state.first, self.state.head + 1)
        return self.rng.sample(offsets, min(3, len(offsets)))

    def _perhaps_cut(self) -> None:
        # The disk's chance, not the scenario's: this runs in SQLite's thread.
        if self.disk.rng.random() < CUTS_PER_CHANGE:
            self._cut()

    def _cut(self) -> None:
        folder = self.folder.with_name(f"{self.folder.name}cut{len(self.cuts)}")
        folder.mkdir()
        self.disk.after_cut(folder)
        self._leave_a_note(folder / ACKNOWLEDGED)
        self.cuts.append(Cut(folder, self._allowed))

    def _leave_a_note(self, path: Path) -> None:
        """The note is never synced before the journal, so that any of its states may be left, or none."""
        self._notes.append((self.folder / ACKNOWLEDGED).read_bytes())
        fate = self.disk.rng.random()
        if fate < 0.6:
            path.write_bytes(self._notes[-1])
        elif fate < 0.8:
            path.write_bytes(self.disk.rng.choice(self._notes))
        elif fate < 0.9:
            path.write_bytes(bytes(len(self._notes[-1])))


def rewritten(state: State, records: list[Record]) -> State:
    entries = list(state.entries)
    for offset, entry in records:
        entries[offset - state.first] = entry
    return state._replace(entries=tuple(entries))


def truncated(state: State, through: int) -> State:
    through = max(min(through, state.head), state.first - 1)
    return State(through + 1, state.entries[through + 1 - state.first :])


async def found(folder: Path) -> State:
    """What a new start finds, having added an entry to it."""
    journal = await SqliteJournal.open(folder)
    try:
        state = State(journal.first, tuple(record.entry for record in await journal.read(0, 10_000)))
        assert journal.head == state.head
        await journal.append([received(0)])
        assert await journal.read(state.head, 10) == [Record(state.head + 1, received(0))]
        return state
    finally:
        await journal.close()


async def lost(cut: Cut) -> bool:
    """Whether a new start finds something other than it should, or says itself that it does."""
    try:
        return await found(cut.folder) not in cut.allowed
    except JournalDamagedError:
        return True


class FullDisk(Scenario):
    """There is room at some times, and none at others."""

    refusals = 0

    def disturb(self) -> None:
        if self.rng.random() < 0.4:
            self.disk.is_full = not self.disk.is_full

    async def goes_on_after(self, error: OpportuneError) -> bool:
        assert error.reason is ErrorReason.JOURNAL_FULL
        self.refusals += 1
        # Only a checkpoint may have been without room, behind something that is done.
        state = State(self.journal.first, tuple(record.entry for record in await self.journal.read(0, 10_000)))
        assert state in self._allowed
        self.settle(state)
        return True


class FailingSyncs(Scenario):
    """At some moment a sync fails."""

    has_failed = False
    steps = 0

    def disturb(self) -> None:
        self.steps += 1
        self.disk.syncs_that_fail = 0.05 if self.steps < STEPS // 2 else 1.0

    async def goes_on_after(self, error: OpportuneError) -> bool:
        self.has_failed = True
        for attempt in (error, await refusal(self.journal), await refusal(self.journal)):
            assert attempt.reason is ErrorReason.JOURNAL_FAILED
        assert self.journal.head in {state.head for state in self._allowed}
        self.disk.syncs_that_fail = 0
        return False


async def refusal(journal: SqliteJournal) -> OpportuneError:
    with pytest.raises(OpportuneError) as refused:
        await journal.append([received(0)])
    return refused.value


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    scenario = Scenario(tmp_path, seed)

    await scenario.run()

    assert len(scenario.cuts) > 5
    for cut in scenario.cuts:
        assert await found(cut.folder) in cut.allowed


@pytest.mark.parametrize("seed", range(6))
async def test_full_disk_loses_nothing_and_the_journal_goes_on_when_there_is_room(tmp_path: Path, seed: int) -> None:
    scenario = FullDisk(tmp_path, seed)

    await scenario.run()

    assert scenario.refusals
    for cut in scenario.cuts:
        assert await found(cut.folder) in cut.allowed


@pytest.mark.parametrize("seed", range(10))
async def test_failed_sync_ends_the_journal_and_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    scenario = FailingSyncs(tmp_path, seed)

    await scenario.run()

    assert scenario.has_failed
    for cut in scenario.cuts:
        assert await found(cut.folder) in cut.allowed


async def test_these_cuts_do_lose_entries_of_a_journal_that_is_not_synced_at_each_commit(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, 0, synchronous="NORMAL")

    await scenario.run()

    assert sum([await lost(cut) for cut in scenario.cuts]) > len(scenario.cuts) / 10
