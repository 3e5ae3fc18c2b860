"""`python -m server recover`: what it prints, what it writes, and how it ends."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.cli import main
from server.domain.journal import Entry, JournalDamagedError
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.recovering import report_on
from server.storage.folder import DataFolder, FolderInUseError
from server.storage.snapshots import SnapshotFolder
from server.storage.sqlite_journal import SqliteJournal
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog
from tests.support.clock import NOON_US
from tests.support.folds import captured, digest, folded, linked, published, received


def history() -> list[Entry]:
    schema = compiled_catalog(catalog_document(attributes=ATTRIBUTES)).customer
    deltas = [
        received(
            ProfileDelta(f"c{n % 7}", NOON_US + n, AttributeUpdates(increment={"visits": 1.0})),
            source="crm",
            sequence=n,
        )
        for n in range(1, 30)
    ]
    return [published(schema), *deltas, linked("c1", "c2")]


HISTORY = history()


async def written(folder: Path, snapshots: Sequence[int], entries: Sequence[Entry] = HISTORY) -> Path:
    """A data folder with these entries, and snapshots of these offsets."""
    with DataFolder.open(folder) as data:
        data.erasures.touch()
        journal = await SqliteJournal.open(folder)
        await journal.append(entries)
        await journal.close()
        for offset in snapshots:
            await SnapshotFolder(data.snapshots).write(captured(folded(HISTORY[:offset])))
    return folder


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


async def test_good_folder_is_reported_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = await written(tmp_path / "data", [10, 20])

    code = await report_on(data, None, False, tmp_path / "report.json")

    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    output = capsys.readouterr().out
    assert code == 0
    assert report.pop("seconds") >= 0
    assert report == {
        "journal": "entries 1 to 31",
        "snapshot": 20,
        "damaged_snapshots": [],
        "entries_behind": 11,
        "erased_left_out": 0,
        "identifiers": 7,
        "sources": 1,
        "catalog": "version 1 of 2026-11-22",
        "digest": digest(folded(HISTORY)),
    }
    assert all(str(value) in output for value in report.values())


async def test_digest_does_not_depend_on_the_snapshot_that_was_used(tmp_path: Path) -> None:
    digests: set[str] = set()
    for snapshots in ([], [5], [31], [3, 30]):
        data = await written(tmp_path / f"data-{len(digests)}-{sum(snapshots)}", snapshots)
        await report_on(data, None, False, tmp_path / "report.json")
        digests.add(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["digest"])

    assert digests == {digest(folded(HISTORY))}


async def test_damaged_snapshot_is_named_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = await written(tmp_path / "data", [10, 20])
    newest = SnapshotFolder(data / "snapshots").path(20)
    flip(newest, 300)

    code = await report_on(data, None, False, tmp_path / "report.json")

    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert code == 1
    assert (report["snapshot"], report["entries_behind"]) == (10, 21)
    assert report["digest"] == digest(folded(HISTORY))
    assert str(newest) in capsys.readouterr().out


async def test_damaged_journal_is_named(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", [10])
    path = data / "journal.db"
    flip(path, path.read_bytes().index(b"crm"))

    with pytest.raises(JournalDamagedError, match=r"journal\.db: entry \d+ is not what was written"):
        await report_on(data, None, False, None)


async def test_empty_folder_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()

    assert await report_on(data, None, False, None) == 0
    assert "empty behind entry 0" in capsys.readouterr().out


async def test_truncated_journal_and_its_snapshots_are_good(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", [10, 20])
    journal = await SqliteJournal.open(data)
    await journal.truncate(10)
    await journal.close()

    assert await report_on(data, None, False, tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report["journal"], report["digest"]) == ("entries 11 to 31", digest(folded(HISTORY)))


async def test_folder_that_a_server_uses_is_refused(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", [])

    with DataFolder.open(data), pytest.raises(FolderInUseError, match="another server uses"):
        await report_on(data, None, False, None)


async def test_missing_acknowledged_entries_are_refused_unless_they_are_accepted(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", [])
    shorter = await written(tmp_path / "shorter", [], HISTORY[:20])
    (data / "journal.db").write_bytes((shorter / "journal.db").read_bytes())

    with pytest.raises(JournalDamagedError, match="entries 21 to 31 were acknowledged and are missing"):
        await report_on(data, None, False, None)

    assert await report_on(data, None, True, tmp_path / "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["digest"] == digest(folded(HISTORY[:20]))


def test_command_says_that_there_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["recover", "--data", str(tmp_path / "none")])

    assert code == 1
    assert capsys.readouterr().err.strip() == f"there is no folder {tmp_path / 'none'}"
