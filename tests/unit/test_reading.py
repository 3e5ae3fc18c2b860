"""Reading a data folder that a server may be using, and what is made of it."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server import reading
from server.domain.attribute import Schema
from server.domain.decision import RankQuery
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import CatalogPublished, Entry, JournalDamagedError, Record
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.execution.decide import decide
from server.execution.evaluation import Moment, Snapshot
from server.execution.facts import Facts
from server.reading import read_facts, snapshot_of
from server.storage.folder import DataFolder
from server.storage.journal_reader import ReadOnlyJournal
from server.storage.ledger import FileLedger
from server.storage.snapshots import SnapshotFolder
from server.storage.sqlite_journal import SqliteJournal
from server.stores import ReadOnlyStores, open_read_only
from tests.support.catalogs import (
    ATTRIBUTES,
    Document,
    catalog_document,
    compiled_catalog,
    offer_entry,
    placement_entry,
    text_of,
)
from tests.support.clock import NOON, NOON_US
from tests.support.folds import captured, digest, folded, received
from tests.support.models import FakeModel

OFFERS = [offer_entry("a", 2.0, eligible="customer.visits > 3"), offer_entry("b", 1.0)]
CATALOG = catalog_document(OFFERS)


def published(document: Document, version: int = 1, schema: Schema | None = None) -> CatalogPublished:
    compiled = compiled_catalog(document)
    return CatalogPublished(
        NOON_US, version, compiled.etag, compiled.text, schema or compiled.customer, compiled.identity
    )


def visit(number: int) -> Entry:
    change = AttributeUpdates(increment={"visits": 1.0})
    return received(ProfileDelta(f"c{number % 3}", NOON_US + number, change), source="crm", sequence=number)


HISTORY = [published(CATALOG), *map(visit, range(1, 20))]


async def written(folder: Path, *snapshots: int, entries: Sequence[Entry] = tuple(HISTORY)) -> SqliteJournal:
    """The journal of a data folder with these entries, still open, and snapshots of these offsets."""
    folder.mkdir()
    data = DataFolder.unlocked(folder)
    data.erasures.touch()
    journal = await SqliteJournal.open(folder)
    await journal.append(entries)
    for offset in snapshots:
        await SnapshotFolder(data.snapshots).write(captured(folded(HISTORY[:offset])))
    return journal


def ignore(text: str) -> None:
    """Nobody is told."""


def ranked(snapshot: Snapshot, customer_id: str) -> list[str]:
    decision, _ = decide(snapshot, RankQuery(customer_id, "home"), Moment(NOON, 0, 0, lambda: 0))
    return [offer.offer_id for offer in decision.offers]


async def test_facts_are_those_of_snapshot_and_journal_beside_an_open_one(tmp_path: Path) -> None:
    journal = await written(tmp_path / "data", 10)

    recovered = await read_facts(tmp_path / "data", None, ignore)

    assert (recovered.snapshot_offset, recovered.entries, recovered.facts.offset) == (10, 10, 20)
    assert digest(recovered.facts) == digest(folded(HISTORY))
    await journal.close()


async def test_folder_is_not_locked(tmp_path: Path) -> None:
    journal = await written(tmp_path / "data")
    with DataFolder.open(tmp_path / "data"):
        assert (await read_facts(tmp_path / "data", None, ignore)).facts.offset == 20
    await journal.close()


async def test_erased_customers_are_left_out(tmp_path: Path) -> None:
    journal = await written(tmp_path / "data", 10)
    ledger = FileLedger.open(tmp_path / "elsewhere")
    await ledger.begin(["c1"], NOON_US)

    recovered = await read_facts(tmp_path / "data", tmp_path / "elsewhere", ignore)

    assert recovered.facts.profiles.find("c0") >= 0
    assert recovered.facts.profiles.find("c1") < 0
    await journal.close()


async def test_missing_ledger_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    journal = await written(tmp_path / "data")
    (tmp_path / "data" / "erasures").unlink()

    with pytest.raises(RuntimeError, match="there is no erasure ledger"):
        await read_facts(tmp_path / "data", None, ignore)

    assert not (tmp_path / "data" / "erasures").exists()
    await journal.close()


async def test_what_is_truncated_meanwhile_is_read_from_a_newer_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await written(tmp_path / "data", 5)
    snapshots = SnapshotFolder(tmp_path / "data" / "snapshots")
    first_entries: list[int] = []
    read = ReadOnlyJournal.read

    async def late(self: ReadOnlyJournal, after: int, limit: int) -> list[Record]:
        if not first_entries:
            # The server moves on between the snapshot and the entries behind it.
            await snapshots.write(captured(folded(HISTORY[:15])))
            await journal.truncate(15)
        first_entries.append(self.first)
        return await read(self, after, limit)

    monkeypatch.setattr(ReadOnlyJournal, "read", late)

    recovered = await read_facts(tmp_path / "data", None, ignore)

    assert first_entries[:2] == [1, 16]
    assert (recovered.snapshot_offset, recovered.facts.offset) == (15, 20)
    assert digest(recovered.facts) == digest(folded(HISTORY))
    await journal.close()


async def test_snapshot_that_goes_while_it_is_read_is_left_for_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await written(tmp_path / "data", 5)
    read = SnapshotFolder.read

    def gone(self: SnapshotFolder, offset: int) -> object:
        if offset == 5:
            # Written and removed between listing and reading.
            (tmp_path / "data" / "snapshots" / f"{15:020d}.snapshot").write_bytes(newer)
            self.remove(5)
        return read(self, offset)

    other = SnapshotFolder(tmp_path / "other")
    await other.write(captured(folded(HISTORY[:15])))
    newer = other.path(15).read_bytes()
    monkeypatch.setattr(SnapshotFolder, "read", gone)

    recovered = await read_facts(tmp_path / "data", None, ignore)

    assert recovered.snapshot_offset == 15
    await journal.close()


async def test_real_damage_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await written(tmp_path / "data")
    await journal.truncate(3)
    opened = []

    async def counted(data: Path, erasures: Path | None, stack: AsyncExitStack) -> ReadOnlyStores:
        opened.append(1)
        return await open_read_only(data, erasures, stack)

    monkeypatch.setattr(reading, "open_read_only", counted)

    with pytest.raises(JournalDamagedError, match="the journal begins at entry 4, and there is no good snapshot"):
        await read_facts(tmp_path / "data", None, ignore)

    assert len(opened) == 2
    await journal.close()


async def test_folder_that_never_holds_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await written(tmp_path / "data")
    forgotten = 3

    async def moving(data: Path, erasures: Path | None, stack: AsyncExitStack) -> ReadOnlyStores:
        nonlocal forgotten
        forgotten += 1
        await journal.truncate(forgotten)
        return await open_read_only(data, erasures, stack)

    monkeypatch.setattr(reading, "open_read_only", moving)

    with pytest.raises(JournalDamagedError, match="begins at entry"):
        await read_facts(tmp_path / "data", None, ignore)

    assert forgotten == 3 + reading.ATTEMPTS
    await journal.close()


def test_snapshot_ranks_with_the_catalog_in_force() -> None:
    snapshot = snapshot_of(folded(HISTORY), {})

    assert (snapshot.catalog.version, snapshot.profile_version) == (1, 20)
    assert ranked(snapshot, "c1") == ["a", "b"]
    assert ranked(snapshot, "unheard-of") == ["b"]


def test_another_catalog_lays_the_facts_out_anew_and_counts_as_the_next_version() -> None:
    other = catalog_document([offer_entry("z", eligible="customer.visits > 3")], attributes=ATTRIBUTES[::-1])

    snapshot = snapshot_of(folded(HISTORY), {}, text_of(other))

    assert (snapshot.catalog.version, snapshot.profile_version) == (2, 20)
    assert ranked(snapshot, "c1") == ["z"]
    assert ranked(snapshot, "unheard-of") == []


def test_the_same_catalog_named_again_is_the_same_version() -> None:
    assert snapshot_of(folded(HISTORY), {}, text_of(CATALOG)).catalog.version == 1


def test_catalog_that_this_version_lays_out_otherwise_is_laid_out_anew() -> None:
    entry = published(CATALOG, schema=compiled_catalog(catalog_document(OFFERS, attributes=ATTRIBUTES[::-1])).customer)

    snapshot = snapshot_of(folded([entry, *HISTORY[1:]]), {})

    assert snapshot.catalog.version == 1
    assert ranked(snapshot, "c1") == ["a", "b"]


def test_missing_catalog_missing_model_and_bad_catalog_are_told() -> None:
    with pytest.raises(RuntimeError, match="no catalog"):
        snapshot_of(Facts(), {})
    text = text_of(catalog_document(OFFERS, [placement_entry(model="fake/1")]))
    with pytest.raises(OpportuneError, match="no model fake/1 is loaded") as missing:
        snapshot_of(folded(HISTORY), {"other/1": FakeModel()}, text)
    assert missing.value.reason is ErrorReason.INVALID_CATALOG
    with pytest.raises(OpportuneError):
        snapshot_of(folded(HISTORY), {}, "currency: [")
