"""Recovery: the newest good snapshot, every entry behind it, and what is refused."""

from collections.abc import Sequence

import pytest

from server.domain.attribute import Schema
from server.domain.journal import Entry, JournalDamagedError, NewerEntryError, Record
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.facts import Facts
from server.execution.recovery import Recovered, recover
from server.execution.snapshot import FactsHeader
from server.input.pages import SavedPage
from server.storage.ledger import MemoryLedger
from server.storage.memory_journal import MemoryJournal
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog
from tests.support.clock import NOON_US
from tests.support.folds import apply, captured, digest, folded, linked, published, received, unlinked


def catalog(attributes: Sequence[dict[str, object]] = ATTRIBUTES) -> Schema:
    aggregates = [
        {"id": "purchases", "event": "purchase", "op": "count"},
        {"id": "spent", "event": "purchase", "op": "sum", "property": "amount", "window": "30d"},
    ]
    return compiled_catalog(catalog_document(attributes=list(attributes), aggregates=aggregates)).customer


def delta(customer: int, second: int) -> ProfileDelta:
    """One of some kinds of deltas."""
    changes: list[AttributeUpdates | Event | ConsentUpdate] = [
        AttributeUpdates(set={"tier": "gold", "visits": float(second)}),
        AttributeUpdates(increment={"visits": 1.5}, append={"tags": ("vegan",)}),
        Event("purchase", {"amount": float(second)}),
        ConsentUpdate("personalization", second % 2 == 0),
    ]
    return ProfileDelta(f"c{customer}", NOON_US - second * 1_000_000, changes[second % 4])


HISTORY: list[Entry] = [
    published(catalog()),
    *[received(delta(n % 7, n), delta(n % 5, n + 1), source="crm", sequence=n) for n in range(1, 40)],
    linked("c1", "c2"),
    linked("c2", "c9"),
    *[received(delta(n % 9, n), source="shop", sequence=n) for n in range(1, 20)],
    published(catalog(list(reversed(ATTRIBUTES))), version=2),
    unlinked("c2", "c9"),
    *[received(delta(n % 9, n), source="crm", sequence=n) for n in range(40, 50)],
]


class Snapshots:
    """Snapshots in memory; some cannot be read."""

    def __init__(self) -> None:
        self.facts: dict[int, Facts] = {}
        self.errors: dict[int, Exception] = {}
        self.read_offsets: list[int] = []

    def add(self, offset: int, error: Exception | None = None) -> None:
        """Adds one of the history."""
        self.facts[offset] = folded(HISTORY[:offset])
        if error is not None:
            self.errors[offset] = error

    def offsets(self) -> list[int]:
        return sorted(self.facts, reverse=True)

    def read(self, offset: int) -> tuple[FactsHeader, list[SavedPage]]:
        self.read_offsets.append(offset)
        if offset in self.errors:
            raise self.errors[offset]
        taken = captured(self.facts[offset])
        return taken.header, list(taken.pages)


@pytest.fixture
def snapshots() -> Snapshots:
    return Snapshots()


async def journal_of(entries: Sequence[Entry] = HISTORY, first: int = 1) -> MemoryJournal:
    """A journal that begins at an entry."""
    journal = MemoryJournal()
    await journal.append(entries)
    await journal.truncate(first - 1)
    return journal


def assert_is_the_end_of_the_history(recovered: Recovered) -> None:
    """The same as a server that lived through it all has."""
    live = folded(HISTORY)
    assert recovered.facts.offset == len(HISTORY)
    assert digest(recovered.facts) == digest(live)
    assert recovered.facts.sources == live.sources == {"crm": 49, "shop": 19}
    assert recovered.facts.catalog == live.catalog


async def test_empty_folder_is_empty_facts(snapshots: Snapshots) -> None:
    recovered = await recover(MemoryJournal(), snapshots, MemoryLedger())

    assert (recovered.facts.offset, recovered.entries, recovered.snapshot_offset) == (0, 0, 0)
    assert len(recovered.facts.profiles) == 0


async def test_journal_alone_comes_to_the_same_as_living_through_it(snapshots: Snapshots) -> None:
    recovered = await recover(await journal_of(), snapshots, MemoryLedger())

    assert_is_the_end_of_the_history(recovered)
    assert (recovered.entries, recovered.snapshot_offset) == (len(HISTORY), 0)


@pytest.mark.parametrize("offset", [1, 20, 41, 42, 60, 62, 63, len(HISTORY)])
async def test_any_snapshot_and_what_is_behind_it_come_to_the_same(snapshots: Snapshots, offset: int) -> None:
    snapshots.add(offset)

    recovered = await recover(await journal_of(first=offset + 1), snapshots, MemoryLedger())

    assert_is_the_end_of_the_history(recovered)
    assert (recovered.entries, recovered.snapshot_offset) == (len(HISTORY) - offset, offset)


async def test_newest_snapshot_is_used_and_no_other_is_read(snapshots: Snapshots) -> None:
    for offset in (10, 30, 20):
        snapshots.add(offset)

    recovered = await recover(await journal_of(), snapshots, MemoryLedger())

    assert snapshots.read_offsets == [30]
    assert recovered.snapshot_offset == 30
    assert_is_the_end_of_the_history(recovered)


async def test_damaged_snapshots_are_named_and_the_one_before_is_used(snapshots: Snapshots) -> None:
    snapshots.add(10)
    snapshots.add(20, JournalDamagedError("20.snapshot: the frame at byte 19 is not what was written"))
    snapshots.add(30, JournalDamagedError("30.snapshot: ends at byte 7"))

    recovered = await recover(await journal_of(first=11), snapshots, MemoryLedger())

    assert recovered.damaged == [
        "30.snapshot: ends at byte 7",
        "20.snapshot: the frame at byte 19 is not what was written",
    ]
    assert recovered.snapshot_offset == 10
    assert_is_the_end_of_the_history(recovered)


async def test_whole_journal_makes_up_for_snapshots_that_are_all_damaged(snapshots: Snapshots) -> None:
    snapshots.add(20, JournalDamagedError("damaged"))

    recovered = await recover(await journal_of(), snapshots, MemoryLedger())

    assert len(recovered.damaged) == 1
    assert_is_the_end_of_the_history(recovered)


@pytest.mark.parametrize(
    ("good", "first", "message"),
    [
        ((10,), 12, "begins at entry 12, and the newest good snapshot is of entry 10"),
        ((), 5, "begins at entry 5, and there is no good snapshot"),
    ],
)
async def test_gap_between_snapshot_and_journal_is_refused(
    snapshots: Snapshots, good: Sequence[int], first: int, message: str
) -> None:
    for offset in good:
        snapshots.add(offset)
    snapshots.add(40, JournalDamagedError("damaged"))

    with pytest.raises(JournalDamagedError, match=message):
        await recover(await journal_of(first=first), snapshots, MemoryLedger())


async def test_journal_that_ends_before_the_snapshot_is_refused(snapshots: Snapshots) -> None:
    snapshots.add(30)

    with pytest.raises(JournalDamagedError, match="ends at entry 29, before the snapshot of entry 30"):
        await recover(await journal_of(HISTORY[:29]), snapshots, MemoryLedger())


@pytest.mark.parametrize(
    "error", [NewerEntryError("layout 2"), PermissionError("not yours")], ids=["newer", "unreadable"]
)
async def test_snapshot_that_is_not_damaged_but_cannot_be_read_is_not_passed_over(
    snapshots: Snapshots, error: Exception
) -> None:
    snapshots.add(10)
    snapshots.add(20, error)

    with pytest.raises(type(error)):
        await recover(await journal_of(), snapshots, MemoryLedger())


async def test_damaged_entry_is_refused(snapshots: Snapshots) -> None:
    class Rotten(MemoryJournal):
        async def read(self, after: int, limit: int) -> list[Record]:
            raise JournalDamagedError("entry 3 is not what was written")

    with pytest.raises(JournalDamagedError, match="entry 3"):
        await recover(Rotten(), snapshots, MemoryLedger())


async def test_facts_go_on_from_where_they_were_recovered(snapshots: Snapshots) -> None:
    snapshots.add(45)
    recovered = await recover(await journal_of(first=46), snapshots, MemoryLedger())
    live = folded(HISTORY)
    more = [received(delta(n, n), delta(9 - n, n + 2), source="new", sequence=n) for n in range(1, 10)]

    for facts in (recovered.facts, live):
        apply(facts, linked("c3", "c4"), *more, unlinked("c1"))

    assert digest(recovered.facts) == digest(live)
