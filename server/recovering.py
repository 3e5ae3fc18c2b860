"""`python -m server recover --data DIR`: checks everything that a server would start from, and reports."""

import json
import time
from contextlib import AsyncExitStack
from pathlib import Path

from server.domain.clock import days_of, time_of
from server.domain.journal import Journal
from server.execution.recovery import Recovered, recover
from server.input.digest import digest_of
from server.settings import Settings
from server.stores import open_stores

_READ_AT_ONCE = 1_000


async def report_on(data: Path, erasures: Path | None, accept_loss: bool, json_path: Path | None) -> int:
    """Recovers a data folder as a server would, prints what was found, and changes nothing else.

    Returns 0 if everything is good, 1 if a snapshot is damaged.

    Raises:
        JournalDamagedError, NewerEntryError: a server would not start from this folder.
        FolderInUseError, OSError: it cannot be used.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"there is no folder {data}")
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        stores = await open_stores(
            Settings(data=data, erasures=erasures), stack, accept_loss=accept_loss, with_vault=False
        )
        recovered = await recover(stores.journal, stores.snapshots, stores.ledger, print)
        await _check_all(stores.journal)
        report = _report(recovered, stores.journal.first, stores.journal.head)
    report["seconds"] = round(time.perf_counter() - started, 3)
    for name, value in report.items():
        print(f"{name.replace('_', ' '):20} {value}")
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if recovered.damaged else 0


async def _check_all(journal: Journal) -> None:
    """Reads what a start does not read: the entries that the snapshot has already."""
    after = journal.first - 1
    while records := await journal.read(after, _READ_AT_ONCE):
        after = records[-1].offset


def _report(recovered: Recovered, first: int, head: int) -> dict[str, object]:
    facts = recovered.facts
    catalog = facts.catalog
    today = 0 if catalog is None else int(days_of(catalog.time_us))
    return {
        "journal": f"entries {first} to {head}" if head >= first else f"empty behind entry {head}",
        "snapshot": recovered.snapshot_offset,
        "damaged_snapshots": recovered.damaged,
        "entries_behind": recovered.entries,
        "erased_left_out": recovered.erased,
        "identifiers": len(facts.profiles),
        "sources": len(facts.sources),
        "catalog": "none" if catalog is None else f"version {catalog.version} of {time_of(catalog.time_us):%Y-%m-%d}",
        "digest": digest_of(facts.profiles, today),
    }
