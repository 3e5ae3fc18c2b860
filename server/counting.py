"""`python -m server audience`: counts the customers for whom a condition holds, in a server or in a data folder."""

import json
import time
from contextlib import AsyncExitStack
from pathlib import Path

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.audience import AudienceCount, AudienceScan, compile_audience
from server.execution.recovery import recover
from server.execution.state import Clock, utc_now
from server.settings import Settings
from server.storage.folder import FolderInUseError
from server.stores import open_stores
from server.wire.client import count_audience


async def report_count(condition: str, data: Path | None, address: str, as_json: bool) -> None:
    """Counts in a data folder, or in the server at `HOST:PORT`, and prints count, share and seconds.

    Raises:
        OpportuneError, JournalDamagedError, NewerEntryError, OSError, RuntimeError: as `count_in`, and if a call fails.
    """
    started = time.perf_counter()
    counted = await (count_audience(address, condition) if data is None else count_in(data, condition))
    seconds = time.perf_counter() - started
    share = counted.count / counted.customers if counted.customers else 0.0
    if as_json:
        figures = {
            "count": counted.count,
            "customers": counted.customers,
            "share": round(share, 6),
            "profile_version": counted.profile_version,
            "seconds": round(seconds, 3),
        }
        print(json.dumps(figures))
    else:
        print(f"{counted.count:,} of {counted.customers:,} customers ({share:.2%}), {seconds:.3f} s")


async def count_in(data: Path, condition: str, clock: Clock = utc_now) -> AudienceCount:
    """Counts in a data folder, from its snapshot and the journal behind it. Changes nothing of what they hold.

    A server that uses the folder keeps it locked, as two would spoil it.

    Raises:
        OpportuneError: INVALID_FIELD for a condition that does not compile; NO_CATALOG.
        JournalDamagedError, NewerEntryError: a server would not start from this folder.
        OSError, RuntimeError: it cannot be used.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"there is no folder {data}")
    async with AsyncExitStack() as stack:
        try:
            stores = await open_stores(Settings(data=data), stack, with_vault=False)
        except FolderInUseError as in_use:
            raise RuntimeError(f"{in_use}; ask that server: --to HOST:PORT instead of --data") from None
        facts = (await recover(stores.journal, stores.snapshots, stores.ledger)).facts
        if facts.catalog is None:
            raise OpportuneError(ErrorReason.NO_CATALOG, "no catalog has been applied yet")
        scan = AudienceScan(facts, compile_audience(condition, facts.profiles.schema), clock())
        while scan.turn():
            pass
    return AudienceCount(scan.count, scan.customers, facts.offset)
