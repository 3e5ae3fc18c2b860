"""`python -m server audience --data`: what it counts, prints and refuses."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.cli import main
from server.counting import Folder, count_in, report_count
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Entry
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.storage.folder import DataFolder
from server.storage.snapshots import SnapshotFolder
from server.storage.sqlite_journal import SqliteJournal
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog
from tests.support.clock import NOON_US, ManualClock
from tests.support.folds import captured, folded, linked, published, received

SCHEMA = compiled_catalog(catalog_document(attributes=ATTRIBUTES)).customer
HISTORY: list[Entry] = [
    published(SCHEMA),
    *(received(ProfileDelta(f"c{n}", NOON_US, AttributeUpdates(set={"visits": float(n)}))) for n in range(8)),
    linked("c0", "c1"),
]


async def written(folder: Path, snapshots: Sequence[int] = (), entries: Sequence[Entry] = HISTORY) -> Path:
    """A data folder with these entries, and snapshots of these offsets."""
    with DataFolder.open(folder) as data:
        data.erasures.touch()
        journal = await SqliteJournal.open(folder)
        await journal.append(entries)
        await journal.close()
        for offset in snapshots:
            await SnapshotFolder(data.snapshots).write(captured(folded(entries[:offset])))
    return folder


@pytest.mark.parametrize("snapshots", [(), (5,)])
async def test_customers_of_snapshot_and_journal_are_counted(tmp_path: Path, snapshots: tuple[int, ...]) -> None:
    data = await written(tmp_path / "data", snapshots)

    counted = await count_in(Folder(data), "customer.visits >= 4.0", ManualClock())

    assert (counted.count, counted.customers, counted.profile_version) == (4, 7, len(HISTORY))


async def test_count_share_and_seconds_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = await written(tmp_path / "data")

    await report_count("customer.visits >= 4.0", Folder(data), False)

    assert capsys.readouterr().out.startswith("4 of 7 customers (57.14%), 0.")


async def test_json_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = await written(tmp_path / "data")

    await report_count("customer.visits >= 4.0", Folder(data), True)

    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("seconds") >= 0
    assert printed == {"count": 4, "customers": 7, "share": 0.571429, "profile_version": 10}


async def test_nobody_at_all_is_no_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = await written(tmp_path / "data", entries=HISTORY[:1])

    await report_count("true", Folder(data), False)

    assert capsys.readouterr().out.startswith("0 of 0 customers (0.00%)")


async def test_folder_without_a_catalog_is_refused(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", entries=[received()])

    with pytest.raises(OpportuneError) as refused:
        await count_in(Folder(data), "true")

    assert refused.value.reason is ErrorReason.NO_CATALOG


async def test_counting_leaves_the_folder_to_servers(tmp_path: Path) -> None:
    data = await written(tmp_path / "data", (5,))

    counted = [await count_in(Folder(data), "customer.visits >= 4.0") for _ in range(2)]

    assert counted[0] == counted[1]
    assert [path.name for path in (data / "snapshots").iterdir()] == [SnapshotFolder(data / "snapshots").path(5).name]


async def test_folder_is_counted_beside_the_server_that_uses_it(tmp_path: Path) -> None:
    data = await written(tmp_path / "data")

    with DataFolder.open(data):
        assert (await count_in(Folder(data), "true", ManualClock())).count == 7


async def test_ledger_that_is_kept_elsewhere_is_named(tmp_path: Path) -> None:
    data = await written(tmp_path / "data")
    (data / "erasures").rename(tmp_path / "ledger")

    with pytest.raises(RuntimeError, match="no erasure ledger"):
        await count_in(Folder(data), "true")
    assert (await count_in(Folder(data, tmp_path / "ledger"), "true", ManualClock())).count == 7


def test_command_says_what_is_wrong_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["audience", "true", "--data", str(tmp_path / "none")])

    assert code == 1
    assert capsys.readouterr().err.strip() == f"there is no journal {tmp_path / 'none' / 'journal.db'}"


async def test_condition_that_does_not_compile_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = await written(tmp_path / "data")

    code = await asyncio.to_thread(main, ["audience", "customer.vists > 1", "--data", str(data)])

    assert code == 1
    assert capsys.readouterr().err.strip().splitlines() == [
        "condition: 1:1: unknown attribute customer.vists; did you mean customer.visits?"
    ]


@pytest.mark.parametrize("arguments", [[], ["true", "--data", "x", "--to", "y"]])
def test_there_is_one_condition_and_one_place(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audience", *arguments])

    assert ended.value.code == 2
