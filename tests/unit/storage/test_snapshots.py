"""Snapshot files: every byte is checked, a name stands for a whole file, and newer layouts are refused."""

import asyncio
import random
import struct
from pathlib import Path

import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from server.domain.attribute import Schema
from server.domain.journal import Entry, JournalDamagedError, NewerEntryError
from server.domain.profile import AttributeUpdates, ConsentUpdate, ProfileDelta
from server.execution.facts import Facts
from server.execution.snapshot import Capture, restore
from server.storage import snapshots as module
from server.storage.snapshots import LAYOUT, MAGIC, SnapshotFolder
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog
from tests.support.clock import NOON_US
from tests.support.folds import apply, captured, digest, folded, linked, published, received

FLIPS = 500


def history(customers: int) -> list[Entry]:
    schema: Schema = compiled_catalog(catalog_document(attributes=ATTRIBUTES)).customer
    deltas = [
        ProfileDelta(f"c{number}", NOON_US - number, AttributeUpdates(set={"tier": "gold", "visits": float(number)}))
        for number in range(customers)
    ]
    answer = ProfileDelta("c0", NOON_US, ConsentUpdate("personalization", True))
    return [
        published(schema),
        received(*deltas, answer, source="crm", sequence=7),
        linked("c0", "c1"),
        linked("c1", "x"),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path / "snapshots")


@pytest.fixture
def facts() -> Facts:
    return folded(history(20))


def read(folder: SnapshotFolder, offset: int) -> Facts:
    return restore(*folder.read(offset))


async def test_snapshot_comes_back_as_it_was_written(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))

    found = read(folder, facts.offset)

    assert folder.offsets() == [facts.offset] == [4]
    assert digest(found) == digest(facts)
    assert (found.sources, found.catalog, found.offset) == (facts.sources, facts.catalog, facts.offset)


async def test_facts_of_a_file_can_be_changed(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    found = read(folder, facts.offset)
    more = ProfileDelta("c3", NOON_US, AttributeUpdates(increment={"visits": 2.0}), ("y",))

    for each in (found, facts):
        apply(each, received(more), linked("c4", "z"))

    assert digest(found) == digest(facts)


async def test_empty_facts_have_a_snapshot(folder: SnapshotFolder) -> None:
    await folder.write(captured(Facts()))

    assert read(folder, 0).offset == 0
    assert digest(read(folder, 0)) == digest(Facts())


async def test_large_snapshot_is_written_in_parts_while_facts_change(folder: SnapshotFolder) -> None:
    facts = folded(history(40_000))
    expected = digest(facts)
    writing = asyncio.create_task(folder.write(captured(facts)))
    await asyncio.sleep(0)
    changes = 0
    while not writing.done():
        apply(facts, received(ProfileDelta(f"c{changes}", NOON_US + 1, AttributeUpdates(set={"visits": 0.0}))))
        changes += 1
        await asyncio.sleep(0)
    await writing

    assert changes > 1
    assert digest(read(folder, 4)) == expected != digest(facts)


async def test_offsets_are_listed_newest_first_and_can_be_removed(folder: SnapshotFolder) -> None:
    assert folder.offsets() == []
    entries = history(3)
    for count in (2, 4, 3):
        await folder.write(captured(folded(entries[:count])))

    assert folder.offsets() == [4, 3, 2]
    folder.remove(3)
    folder.remove(3)
    assert folder.offsets() == [4, 2]


async def test_flipped_bits_are_detected(folder: SnapshotFolder) -> None:
    facts = folded(history(2))
    await folder.write(captured(facts))
    path = folder.path(facts.offset)
    content = path.read_bytes()
    bits = random.Random(20261122).sample(range(len(content) * 8), FLIPS)
    # All of the first bytes: sizes, checksums and header decide how the rest is read.
    bits += range((len(MAGIC) + 60) * 8)

    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)

        with pytest.raises(JournalDamagedError, match=path.name):
            folder.read(facts.offset)


async def test_file_that_ends_early_is_detected_wherever_it_ends(folder: SnapshotFolder) -> None:
    facts = folded(history(2))
    await folder.write(captured(facts))
    path = folder.path(facts.offset)
    content = path.read_bytes()
    rng = random.Random(20261122)

    for size in [0, 1, len(MAGIC), len(MAGIC) + 10, len(content) - 1, *rng.sample(range(len(content)), 200)]:
        path.write_bytes(content[:size])

        with pytest.raises(JournalDamagedError, match=path.name):
            folder.read(facts.offset)


async def test_bytes_behind_the_end_and_a_missing_frame_are_detected(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    path = folder.path(facts.offset)
    content = path.read_bytes()
    second = _frame_size(content, len(MAGIC))

    for spoilt in (content + b"\0", content[: len(MAGIC) + second] + content[_second_frame_end(content) :]):
        path.write_bytes(spoilt)

        with pytest.raises(JournalDamagedError, match=path.name):
            folder.read(facts.offset)


async def test_snapshot_under_another_name_is_detected(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    folder.path(4).rename(folder.path(5))

    with pytest.raises(JournalDamagedError, match="is the snapshot of offset 4"):
        folder.read(5)


async def test_newer_layout_is_refused_and_not_taken_for_damage(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    path = folder.path(facts.offset)
    path.write_bytes(_with_layout(path.read_bytes(), LAYOUT + 1))

    with pytest.raises(NewerEntryError, match=f"{path.name}.*layout {LAYOUT + 1}"):
        folder.read(facts.offset)


async def test_partial_file_is_no_snapshot(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    folder.path(9).with_suffix(".partial").write_bytes(folder.path(4).read_bytes()[:100])
    folder.path(9).with_name("notes.snapshot").write_bytes(b"")

    assert folder.offsets() == [4]


async def test_partial_file_of_a_killed_server_is_in_nobodys_way(folder: SnapshotFolder, facts: Facts) -> None:
    await folder.write(captured(facts))
    folder.remove(4)
    folder.path(4).with_suffix(".partial").write_bytes(b"begun")

    await folder.write(captured(facts))

    assert digest(read(folder, 4)) == digest(facts)


@pytest.mark.parametrize("step", ["_write_pages", "_finish", "_sync_folder"])
async def test_write_that_fails_leaves_no_file_behind(
    folder: SnapshotFolder, facts: Facts, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(module, step, fail)

    with pytest.raises(OSError, match="no space left"):
        await folder.write(captured(facts))

    # Once it has its name it is whole, whatever becomes of the folder's entry.
    assert folder.offsets() == ([4] if step == "_sync_folder" else [])
    assert not list(folder.path(4).parent.glob("*.partial"))


async def test_cancelled_write_leaves_no_file_behind(folder: SnapshotFolder, facts: Facts) -> None:
    def pages(taken: Capture) -> Capture:
        return taken._replace(pages=(page for page in taken.pages))

    writing = asyncio.create_task(folder.write(pages(captured(facts))))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    assert list(folder.path(4).parent.iterdir()) == []


_PREFIX = struct.Struct("<IQQ")


def _frame_size(content: bytes, start: int) -> int:
    header_size, payload_size, _ = _PREFIX.unpack_from(content, start)
    return int(_PREFIX.size + header_size + payload_size)


def _second_frame_end(content: bytes) -> int:
    start = len(MAGIC) + _frame_size(content, len(MAGIC))
    return start + _frame_size(content, start)


def _with_layout(content: bytes, layout: int) -> bytes:
    """The same file, as a server with another layout would have written its first frame."""
    start = len(MAGIC)
    header_size, payload_size, _ = _PREFIX.unpack_from(content, start)
    payload_start = start + _PREFIX.size + header_size
    payload = content[payload_start : payload_start + payload_size]
    header = msgspec.msgpack.encode(["facts", layout])
    prefix = _PREFIX.pack(len(header), len(payload), xxh3_64_intdigest(header + payload))
    return content[:start] + prefix + header + payload + content[payload_start + payload_size :]
