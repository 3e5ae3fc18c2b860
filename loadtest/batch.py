"""The scenario `batch`: ranking every customer of a data folder, in one process, into a Parquet file.

1. Customers are loaded into a server, and another one takes a snapshot of them and is ended.
2. `python -m server rank-all` ranks all of them with a logistic model whose every input is a pair's, and is timed from
   exec to exit: reading the snapshot, ranking and writing.

The context is the same for everybody, such that every condition over it holds.
"""

import json
import resource
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtest import logistic
from loadtest.catalog import PLACEMENT, SLOTS, catalog
from loadtest.children import child
from loadtest.folder import filesystem
from loadtest.ground import Ground, Serve
from loadtest.machine import machine
from loadtest.procfs import MachineTime
from loadtest.progress import say
from loadtest.recover import take_snapshot
from loadtest.serving import ServerFailedError, durable
from loadtest.setting import now
from loadtest.stage import workspace
from loadtest.workload import SEED, SyntheticWorkload

CONTEXT = ("k0=50", "k1=50", "k2=app", "k3=true")

TAKEN = (
    "catalog_version", "customers", "in_audience", "offered", "model_failed_for", "rows", "offers", "read_seconds",
    "rss_read_mib", "rss_mib",
)  # fmt: skip
"""What the figures take over from the command's own report."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How many customers to rank how many offers for."""

    offers: int = 200
    profiles: int = 1_000_000
    transport: str = "native"


def batch(options: BatchOptions, serve: Serve = durable) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with workspace() as directory:
        (directory / "workload").mkdir()
        ground = Ground(directory, _workload(directory, options), options.transport, serve)
        disk = filesystem(directory)
        take_snapshot(ground, options.profiles)
        say(f"Ranking {options.offers:,} offers for {options.profiles:,} customers")
        out, before = directory / "ranked.parquet", MachineTime.now()
        started_s = time.monotonic()
        report, cpu_s = _rank_all(ground, out, directory / "report.json")
        seconds = time.monotonic() - started_s
        after = MachineTime.now()
        bytes_written = out.stat().st_size
    return {
        "scenario": "batch",
        **{name: report[name] for name in TAKEN},
        "model": report["model"],
        "slots": SLOTS,
        "seconds": seconds,
        "ranking_seconds": report["seconds"],
        "cpu_seconds": cpu_s,
        "customers_per_second": options.profiles / seconds,
        "file_bytes": bytes_written,
        "steal_percent": after.steal_percent_since(before),
        "others_percent": after.others_percent_since(before, cpu_s),
        "filesystem": disk,
        "started": started,
        "machine": machine(),
    }


def _workload(directory: Path, options: BatchOptions) -> SyntheticWorkload:
    """The synthetic workload with a catalog that names the logistic model."""
    today = datetime.now(UTC).date()
    workload = SyntheticWorkload(directory / "workload", options.offers, options.profiles, today)
    logistic.write(workload.models, SEED)
    workload.catalog.write_text(catalog(options.offers, logistic.MODEL, today, SEED))
    return workload


def _rank_all(ground: Ground, out: Path, report: Path) -> tuple[dict[str, object], float]:
    """What the command reports, and the processor time that it took."""
    files = ["--data", ground.data, "--models", ground.workload.models, "--out", out, "--json", report]
    context = [part for each in CONTEXT for part in ("--context", each)]
    command = ["-m", "server", "rank-all", "--placement", PLACEMENT, *context, *map(str, files)]
    before = _children_cpu_s()
    with child(command, stdout=subprocess.DEVNULL, scratch=ground.directory) as process:
        if process.wait():
            raise ServerFailedError(f"rank-all ended, exit {process.returncode}.")
    figures: dict[str, object] = json.loads(report.read_text())
    return figures, _children_cpu_s() - before


def _children_cpu_s() -> float:
    """Processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
