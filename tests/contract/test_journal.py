"""What every journal does, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from server.domain.attribute import Schema
from server.domain.identity import IdentityPolicy
from server.domain.journal import (
    CatalogPublished,
    DeltasReceived,
    Entry,
    IdentifiersLinked,
    Journal,
    ProfilesLoaded,
    Record,
    Redacted,
)
from server.domain.load import ColumnBatch, LoadColumn
from server.storage.codec import encode
from server.storage.memory_journal import MemoryJournal
from server.storage.sqlite_journal import SqliteJournal
from tests.support.entries import exact, received, rejected, visits

ALL = 10_000


@pytest.fixture(params=["sqlite", "memory"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    opened: Journal = MemoryJournal() if request.param == "memory" else await SqliteJournal.open(tmp_path)
    yield opened
    await opened.close()


def records(entries: Sequence[Entry], first: int = 1) -> list[Record]:
    return [Record(offset, entry) for offset, entry in enumerate(entries, first)]


async def test_new_journal_is_empty(journal: Journal) -> None:
    assert (journal.first, journal.head) == (1, 0)
    assert await journal.read(0, ALL) == []
    assert await journal.rejected("", 0, ALL) == []
    assert await journal.mentioning(["cookie:1"], 0, ALL) == []


async def test_entries_stand_behind_the_head_in_their_order(journal: Journal) -> None:
    entries = [received(number) for number in range(5)]

    await journal.append(entries[:2])
    await journal.append([])
    await journal.append(entries[2:])

    assert (journal.first, journal.head) == (1, 5)
    assert await journal.read(0, ALL) == records(entries)


async def test_reading_goes_on_behind_an_offset_and_stops_at_the_limit(journal: Journal) -> None:
    entries = [received(number) for number in range(7)]
    await journal.append(entries)

    assert await journal.read(2, 3) == records(entries)[2:5]
    assert await journal.read(5, 3) == records(entries)[5:]
    for after, limit in ((7, 3), (100, 3), (0, 0), (0, -1)):
        assert await journal.read(after, limit) == []


async def test_arrays_come_back(journal: Journal) -> None:
    column = LoadColumn("tags", np.array([0.0, np.nan]), ("vegan",), np.array([1, -1], np.int32))
    batch = ColumnBatch(("c:1", "c:2"), np.array([1, 2], np.int64), (column,))
    entry = ProfilesLoaded(1, "file", 1, batch)

    await journal.append([entry])

    assert exact((await journal.read(0, 1))[0]) == exact(Record(1, entry))


async def test_what_becomes_of_the_callers_list_does_not_matter(journal: Journal) -> None:
    entries: list[Entry] = [received(1)]

    await journal.append(entries)
    entries.clear()

    assert await journal.read(0, ALL) == [Record(1, received(1))]


async def test_forgetting_moves_the_first_and_never_the_head(journal: Journal) -> None:
    await journal.append([received(number) for number in range(1, 6)])

    await journal.truncate(3)

    assert (journal.first, journal.head) == (4, 5)
    assert await journal.read(0, ALL) == [Record(4, received(4)), Record(5, received(5))]


async def test_journal_goes_on_behind_the_head_when_all_is_forgotten(journal: Journal) -> None:
    await journal.append([received(1), received(2)])

    await journal.truncate(100)
    assert (journal.first, journal.head) == (3, 2)
    assert await journal.read(0, ALL) == []

    await journal.append([received(3)])
    assert (journal.first, journal.head) == (3, 3)
    assert await journal.read(0, ALL) == [Record(3, received(3))]


@pytest.mark.parametrize("through", [-1, 0, 1, 2])
async def test_forgetting_what_is_forgotten_does_nothing(journal: Journal, through: int) -> None:
    await journal.append([received(1), received(2), received(3)])
    await journal.truncate(2)

    await journal.truncate(through)

    assert (journal.first, journal.head) == (3, 3)


async def test_forgetting_thousands_at_once(journal: Journal) -> None:
    entries = [Redacted(number) for number in range(1, 2_601)]
    await journal.append(entries)

    await journal.truncate(2_550)

    assert journal.first == 2_551
    assert await journal.read(0, ALL) == records(entries)[2_550:]


async def test_published_catalogs_are_found_among_everything(journal: Journal) -> None:
    first, second = (CatalogPublished(n, n, f"etag {n}", "text", Schema(), IdentityPolicy()) for n in (1, 2))
    await journal.append([received(1), first, received(2), rejected(3), second])

    assert await journal.published(0, ALL) == [Record(2, first), Record(5, second)]
    assert await journal.published(2, ALL) == [Record(5, second)]
    assert await journal.published(0, 1) == [Record(2, first)]
    assert await journal.published(5, ALL) == []


async def test_rejected_entries_are_found_by_their_source(journal: Journal) -> None:
    await journal.append([rejected(1, "web"), received(2), rejected(3, "app"), rejected(4, "web"), received(5)])
    web, app = [Record(1, rejected(1, "web")), Record(4, rejected(4, "web"))], [Record(3, rejected(3, "app"))]

    assert await journal.rejected("web", 0, ALL) == web
    assert await journal.rejected("app", 0, ALL) == app
    assert await journal.rejected("", 0, ALL) == [web[0], *app, web[1]]
    assert await journal.rejected("nobody", 0, ALL) == []


async def test_rejected_entries_come_in_pages(journal: Journal) -> None:
    await journal.append([rejected(number) for number in range(1, 6)])

    assert await journal.rejected("web", 1, 2) == [Record(2, rejected(2)), Record(3, rejected(3))]
    assert await journal.rejected("", 4, 2) == [Record(5, rejected(5))]
    assert await journal.rejected("", 0, 0) == []


async def test_rejected_entries_are_forgotten_with_the_others(journal: Journal) -> None:
    await journal.append([rejected(1), rejected(2)])

    await journal.truncate(1)

    assert await journal.rejected("", 0, ALL) == [Record(2, rejected(2))]


async def test_entries_that_mention_an_identifier_anywhere_are_found(journal: Journal) -> None:
    other = visits("cookie:9", 1.0)._replace(other_ids=("loyalty:ä",))
    about: list[Entry] = [
        received(1, "cookie:8", "loyalty:ä"),
        DeltasReceived(0, "web", 1, (other,)),
        IdentifiersLinked(0, "cookie:8", "loyalty:ä"),
        ProfilesLoaded(0, "file", 1, ColumnBatch(("loyalty:ä",), np.zeros(1, np.int64), ())),
    ]
    await journal.append([received(0), *about, received(5)])

    found = await journal.mentioning(["loyalty:ä", "nobody"], 0, ALL)

    assert exact(tuple(found)) == exact(tuple(records(about, 2)))


async def test_mentioning_entries_come_in_pages(journal: Journal) -> None:
    await journal.append([received(number, "cookie:1") for number in range(1, 6)])

    assert [found.offset for found in await journal.mentioning(["cookie:1"], 1, 3)] == [2, 3, 4]
    assert [found.offset for found in await journal.mentioning(["cookie:1"], 4, 3)] == [5]
    assert await journal.mentioning(["cookie:1"], 0, 0) == []
    assert await journal.mentioning([], 0, ALL) == []


async def test_entries_are_replaced_in_their_places(journal: Journal) -> None:
    await journal.append([received(1), rejected(2), received(3)])

    await journal.rewrite([Record(2, Redacted(9)), Record(3, received(30)), Record(1, rejected(1, "app"))])

    assert (journal.first, journal.head) == (1, 3)
    assert await journal.read(0, ALL) == [
        Record(1, rejected(1, "app")),
        Record(2, Redacted(9)),
        Record(3, received(30)),
    ]
    assert await journal.rejected("", 0, ALL) == [Record(1, rejected(1, "app"))]
    assert await journal.mentioning(["cookie:1"], 0, ALL) == []


async def test_replacing_what_is_not_there_does_nothing(journal: Journal) -> None:
    await journal.append([received(1), received(2)])
    await journal.truncate(1)

    await journal.rewrite([Record(1, Redacted(9)), Record(3, Redacted(9))])
    await journal.rewrite([])

    assert await journal.read(0, ALL) == [Record(2, received(2))]


async def test_readers_see_whole_batches_in_order_while_entries_are_added(journal: Journal) -> None:
    done = asyncio.Event()

    async def write() -> None:
        for batch in range(60):
            await journal.append([received(batch * 5 + place) for place in range(5)])
        done.set()

    async def read() -> list[Record]:
        seen: list[Record] = []
        while not done.is_set() or len(seen) < journal.head:
            seen += await journal.read(len(seen), 7)
            await asyncio.sleep(0)
        return seen

    _, *seen = await asyncio.gather(write(), read(), read())

    assert seen == [records([received(number) for number in range(300)])] * 2


async def test_readers_never_miss_an_entry_while_old_ones_are_forgotten(journal: Journal) -> None:
    await journal.append([Redacted(number) for number in range(1, 3_001)])
    done = asyncio.Event()

    async def forget() -> None:
        for through in range(0, 3_000, 100):
            await journal.truncate(through)
        done.set()

    async def read() -> None:
        while not done.is_set():
            seen = await journal.read(0, ALL)
            assert [record.offset for record in seen] == list(range(seen[0].offset, 3_001))
            await asyncio.sleep(0)

    await asyncio.gather(forget(), read())


async def test_journal_is_what_it_was_when_it_is_opened_again(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1), rejected(2), received(3)])
    await journal.rewrite([Record(3, Redacted(0))])
    await journal.truncate(1)
    await journal.close()

    again = await SqliteJournal.open(tmp_path)

    assert (again.first, again.head) == (2, 3)
    assert await again.read(0, ALL) == [Record(2, rejected(2)), Record(3, Redacted(0))]
    await again.append([received(4)])
    assert await again.read(3, ALL) == [Record(4, received(4))]
    await again.close()


async def test_empty_journal_knows_its_head_when_it_is_opened_again(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path)
    await journal.append([received(1), received(2)])
    await journal.truncate(2)
    await journal.close()

    again = await SqliteJournal.open(tmp_path)

    assert (again.first, again.head) == (3, 2)
    await again.close()


async def test_short_memory_forgets_by_itself() -> None:
    journal = MemoryJournal(keep_bytes=2 * len(encode(received(1)).body))

    await journal.append([received(number) for number in range(1, 6)])

    assert (journal.first, journal.head) == (4, 5)
    assert await journal.read(0, ALL) == [Record(4, received(4)), Record(5, received(5))]
