"""`python -m server audience`: counts the customers for whom a condition holds, in a server or in a data folder."""

import json
import time
from pathlib import Path
from typing import NamedTuple

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.audience import AudienceCount, AudienceScan, compile_audience
from server.execution.state import Clock, utc_now
from server.reading import read_facts
from server.wire.client import count_audience
from server.wire.target import Target


class Folder(NamedTuple):
    """A data folder, and the file of its erasure ledger if a server keeps that elsewhere."""

    data: Path
    erasures: Path | None = None


async def report_count(condition: str, where: Folder | str | Target, as_json: bool) -> None:
    """Counts in a data folder, or in a server, and prints count, share and seconds.

    Raises:
        OpportuneError, JournalDamagedError, NewerEntryError, OSError, RuntimeError: as `count_in`, and if a call fails.
    """
    started = time.perf_counter()
    counted = await (count_in(where, condition) if isinstance(where, Folder) else count_audience(where, condition))
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


async def count_in(folder: Folder, condition: str, clock: Clock = utc_now) -> AudienceCount:
    """Counts in a data folder, from its snapshot and the journal behind it, beside the server if one uses it.

    Raises:
        OpportuneError: INVALID_FIELD for a condition that does not compile; NO_CATALOG.
        JournalDamagedError, NewerEntryError, OSError, RuntimeError: as `read_facts`.
    """
    facts = (await read_facts(*folder, lambda words: None)).facts
    if facts.catalog is None:
        raise OpportuneError(ErrorReason.NO_CATALOG, "no catalog has been applied yet")
    scan = AudienceScan(facts, compile_audience(condition, facts.profiles.schema), clock())
    while scan.turn():
        pass
    return AudienceCount(scan.count, scan.customers, facts.offset)
