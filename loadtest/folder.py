"""The data folder of a server under test: what it lies on, and how its journal grows."""

import contextlib
import os
import sqlite3
import statistics
import time
from pathlib import Path

from loadtest.procfs import PROC

SYNCS = 50
BLOCK = bytes(4_096)


def filesystem(folder: Path) -> dict[str, object]:
    """The file system below a folder, and what it takes there to make 4 KiB durable, in milliseconds."""
    return {"type": _type_of(folder.resolve()), "sync_p50_ms": _sync_ms(folder)}


def _type_of(folder: Path) -> str:
    """The type of the mount that is nearest above, as `/proc/self/mounts` has it."""
    mounts = [line.split()[1:3] for line in (PROC / "self" / "mounts").read_text().splitlines()]
    above = [(where, kind) for where, kind in mounts if folder.is_relative_to(where)]
    # Of two mounts on one place the later one hides the earlier.
    return max(enumerate(above), key=lambda mount: (len(mount[1][0]), mount[0]))[1][1]


def _sync_ms(folder: Path) -> float:
    file = folder / "sync"
    taken = []
    with file.open("wb", buffering=0) as output:
        for _ in range(SYNCS):
            started_s = time.perf_counter()
            output.write(BLOCK)
            os.fdatasync(output.fileno())
            taken.append(1_000 * (time.perf_counter() - started_s))
    file.unlink()
    return statistics.median(taken)


def journal_bytes(data: Path) -> int:
    """The size of the journal, whether its pages are in the database or still in the write-ahead log."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'journal.db'}?mode=ro", uri=True)) as connection:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        ((page,),) = connection.execute("PRAGMA page_size").fetchall()
    return int(pages * page)


def snapshot_offsets(data: Path) -> list[int]:
    """The offsets of the snapshots that are whole."""
    return sorted(int(path.stem) for path in (data / "snapshots").glob("*.snapshot"))
