"""A single flipped bit never changes what is read: it is noticed, or does not matter."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from server.domain.journal import Entry, JournalDamagedError, NewerEntryError, Record, Redacted
from server.storage.folder import ACKNOWLEDGED, JOURNAL
from server.storage.sqlite_journal import SqliteJournal
from tests.support.entries import received, rejected

FLIPS = 500
FIRST = 4
ENTRIES: list[Entry] = [
    Redacted(number) if number % 5 == 0 else rejected(number) if number % 7 == 0 else received(number, "cookie:1", "x")
    for number in range(1, 90)
]
EXPECTED = (FIRST, [Record(offset, ENTRIES[offset - 1]) for offset in range(FIRST, len(ENTRIES) + 1)])


async def opened(folder: Path) -> SqliteJournal:
    """A journal of few pages, so that a flip rarely hits nothing, part of it in the write-ahead log only."""
    journal = await SqliteJournal.open(folder)
    await journal.append(ENTRIES[:60])
    await journal.truncate(FIRST - 1)
    await journal.checkpoint()
    for entry in ENTRIES[60:]:
        await journal.append([entry])
    return journal


async def outcome(folder: Path) -> str:
    """What comes of opening a journal and reading all of it."""
    try:
        journal = await SqliteJournal.open(folder)
    except (JournalDamagedError, NewerEntryError) as error:
        return type(error).__name__
    try:
        records: list[Record] = []
        while page := await journal.read(len(records) + journal.first - 1, 20):
            records += page
        return "exact" if (journal.first, records) == EXPECTED else "wrong"
    except (JournalDamagedError, NewerEntryError) as error:
        return type(error).__name__
    finally:
        await journal.close()


async def outcomes_of_flips(folder: Path, names: list[str], scratch: Path) -> Counter[str]:
    """How often which outcome came of a bit flipped in one of the files, by their sizes."""
    rng = random.Random(20261122)
    files = {name: (folder / name).read_bytes() for name in names}
    outcomes: Counter[str] = Counter()
    for number in range(FLIPS):
        (name,) = rng.choices(names, [len(content) for content in files.values()])
        bit = rng.randrange(len(files[name]) * 8)
        flipped = bytearray(files[name])
        flipped[bit // 8] ^= 1 << bit % 8
        target = scratch / str(number)
        target.mkdir()
        for each, content in files.items():
            (target / each).write_bytes(flipped if each == name else content)
        outcomes[await outcome(target)] += 1
        shutil.rmtree(target)
    return outcomes


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "flipped"
    path.mkdir()
    return path


async def test_flips_in_a_closed_journal_are_noticed_or_do_not_matter(tmp_path: Path, scratch: Path) -> None:
    journal = await opened(tmp_path)
    await journal.close()

    outcomes = await outcomes_of_flips(tmp_path, [JOURNAL, ACKNOWLEDGED], scratch)

    assert outcomes["wrong"] == 0
    assert outcomes["JournalDamagedError"] > FLIPS / 5
    assert outcomes["exact"] > 0


async def test_flips_in_the_files_of_a_killed_server_are_noticed_or_do_not_matter(
    tmp_path: Path, scratch: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    names = [JOURNAL, JOURNAL + "-wal", ACKNOWLEDGED]
    journal = await opened(tmp_path)
    for name in names:
        shutil.copy(tmp_path / name, killed / name)
    await journal.close()

    outcomes = await outcomes_of_flips(killed, names, scratch)

    assert outcomes["wrong"] == 0
    assert outcomes["JournalDamagedError"] > FLIPS / 5
    assert await outcome(killed) == "exact"


async def test_flip_that_hides_the_last_entries_is_noticed_by_the_note_alone(tmp_path: Path, scratch: Path) -> None:
    journal = await opened(tmp_path)
    log = bytearray((tmp_path / f"{JOURNAL}-wal").read_bytes())
    log[-100] ^= 1
    (scratch / f"{JOURNAL}-wal").write_bytes(log)
    for name in (JOURNAL, ACKNOWLEDGED):
        shutil.copy(tmp_path / name, scratch / name)
    await journal.close()
    without_note = shutil.copytree(scratch, tmp_path / "without")
    (without_note / ACKNOWLEDGED).unlink()

    with pytest.raises(JournalDamagedError, match=r"entries 89 to 89 were acknowledged and are missing"):
        await SqliteJournal.open(scratch)

    assert await outcome(without_note) == "wrong"
