"""What the server tells of itself, put together: which metric is read where, what is logged, what is traced.

A value that some object has already is read from it when somebody scrapes; nothing is counted twice.
"""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from server.domain.vault import Sealer
from server.execution.decision_watch import DecisionWatch
from server.execution.noting import NoteDecision
from server.execution.rejections import RejectionLimit
from server.execution.snapshotter import Snapshotter
from server.execution.state import State
from server.execution.writer import Writer
from server.settings import Settings
from server.storage.folder import SNAPSHOTS, DataFolder
from server.storage.snapshots import SnapshotFolder
from server.stores import Stores
from server.telemetry import metrics
from server.telemetry.call_log import CallLog
from server.telemetry.exposition import Exposition, Reading
from server.telemetry.heartbeat import Heartbeat
from server.telemetry.logs import Pseudonyms
from server.telemetry.loop_watch import GcWatch, LoopWatch
from server.telemetry.metrics import Metric
from server.telemetry.port import Probes, WatchPort
from server.telemetry.sampling import Sampler
from server.telemetry.spans import SpanExporter
from server.wire.call_accounts import CallAccounts

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watched(NamedTuple):
    """The parts of a server whose values are read."""

    state: State
    writer: Writer
    note: NoteDecision
    snapshotter: Snapshotter
    stores: Stores
    rejections: RejectionLimit
    decisions: DecisionWatch


class Observing:
    """Metrics, log lines and traces of one server, from before it opens its stores until after it has closed them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.heartbeat = Heartbeat()
        self._loop = LoopWatch(self.heartbeat)
        self._gc = GcWatch()
        self._exporter = None if settings.otlp_endpoint is None else SpanExporter(settings.otlp_endpoint)
        self._random = Random(secrets.randbits(256))
        self.exposition = Exposition()
        self.is_serving = False
        """Whether the server has caught up, has verified its models, and takes calls."""
        self.port: int | None = None
        """Where metrics are served."""

    async def open(self, stack: AsyncExitStack) -> None:
        """Begins to watch, and opens the port; the stack ends it.

        Raises:
            RuntimeError: the address for metrics cannot be bound.
        """
        self._gc.start()
        stack.callback(self._gc.stop)
        task = asyncio.create_task(self.heartbeat.run(), name="heartbeat")
        stack.push_async_callback(_cancelled, task)
        if self._exporter is not None:
            self._exporter.start()
            stack.push_async_callback(asyncio.to_thread, self._exporter.close)
        if self._settings.metrics_listen is not None:
            probes = Probes(self.exposition.render, self._idle_s, lambda: self.is_serving)
            port = await stack.enter_async_context(WatchPort(self._settings.metrics_listen, probes))
            self.port = port.port
        self._read_process()

    def accounts(self, sealer: Sealer | None) -> CallAccounts:
        """What keeps account of calls; with a vault, hashes of customers in log lines stay the same over restarts."""
        key = (
            secrets.token_bytes(32) if sealer is None else hashlib.blake2b(sealer.pepper, person=b"log lines").digest()
        )
        log = CallLog(self._settings.log_sample, Pseudonyms(key), self._random.random)
        sampler = None if self._exporter is None else Sampler(self._settings.trace_ratio, self._random.getrandbits)
        accounts = CallAccounts(log, sampler, self._exporter)
        self._read(
            {
                metrics.CALL_SECONDS: accounts.durations_s.read,
                metrics.CALLS_IN_FLIGHT: accounts.in_flight,
                metrics.REFUSALS: lambda: accounts.failed,
                metrics.LINES_SUPPRESSED: lambda: log.limit.suppressed,
            }
        )
        return accounts

    def watch(self, watched: Watched) -> None:
        """Reads the metrics of a server whose state is there."""
        self._read(_of_decisions(watched))
        self._read(_of_models(watched.state))
        self._read(_of_writing(watched))
        self._read(_of_state(watched.state))
        self._read(_of_decision_log(watched.stores))
        if self._settings.data is not None and watched.stores.durable:
            self._read(_of_disk(DataFolder.unlocked(self._settings.data)))
            self._read(_of_snapshots(watched.snapshotter, SnapshotFolder(self._settings.data / SNAPSHOTS)))

    def _idle_s(self) -> float:
        """How long the loop has not come round; starting takes as long as it takes."""
        return self.heartbeat.idle_s() if self.is_serving else 0.0

    def _read_process(self) -> None:
        began_s = time.time()
        readers: dict[Metric, Callable[[], Reading]] = {
            metrics.LOOP_LAG_SECONDS: lambda: self._loop.lag_s,
            metrics.LOOP_LONGEST_SECONDS: lambda: self._loop.longest_s,
            metrics.LOOP_TASKS: lambda: len(asyncio.all_tasks()),
            metrics.GC_SECONDS: self._gc.pauses_s.read,
            metrics.MEMORY_BYTES: _resident_bytes,
            metrics.CPU_SECONDS: time.process_time,
            metrics.OPEN_FDS: lambda: sum(1 for _ in Path("/proc/self/fd").iterdir()),
            metrics.STARTED: lambda: began_s,
            metrics.SERVING: lambda: int(self.is_serving),
        }
        exporter = self._exporter
        if exporter is not None:
            readers |= {
                metrics.SPANS_EXPORTED: lambda: exporter.exported,
                metrics.SPANS_DROPPED: lambda: exporter.dropped,
            }
        self._read(readers)

    def _read(self, readers: Mapping[Metric, Callable[[], Reading]]) -> None:
        for metric, reader in readers.items():
            self.exposition.read(metric, reader)


def _of_decisions(watched: Watched) -> dict[Metric, Callable[[], Reading]]:
    decisions, note = watched.decisions, watched.note
    return {
        metrics.DECISIONS: decisions.answers,
        metrics.STAGE_SECONDS: decisions.stages_s.read,
        metrics.OFFERS_HELD_BACK: lambda: {("cap",): decisions.capped, ("budget",): decisions.over_budget},
        metrics.DECISIONS_UNWRITTEN: lambda: note.unwritten,
        metrics.SCORE_PSI: decisions.psi,
        metrics.SCORES_SAMPLED: decisions.scores_seen,
    }


def _of_models(state: State) -> dict[Metric, Callable[[], Reading]]:
    def of_each(value: Callable[[str], float]) -> Callable[[], Reading]:
        return lambda: {(model_id,): value(model_id) for model_id in state.scorers}

    return {
        metrics.MODEL_FAILURES: of_each(lambda model_id: state.scorers[model_id].circuit.failures),
        metrics.MODEL_CUT_OFFS: of_each(lambda model_id: state.scorers[model_id].circuit.cut_offs),
        metrics.MODEL_OPENINGS: of_each(lambda model_id: state.scorers[model_id].circuit.opened_count),
        metrics.MODEL_CIRCUIT: of_each(lambda model_id: state.scorers[model_id].state()),
    }


def _of_writing(watched: Watched) -> dict[Metric, Callable[[], Reading]]:
    writer, watch, journal = watched.writer, watched.writer.watch, watched.stores.journal
    return {
        metrics.COMMIT_SECONDS: lambda: watch.commit_s,
        metrics.COMMIT_ENTRIES: lambda: watch.commit_entries,
        metrics.COMMITS_FAILED: lambda: watch.failures,
        metrics.ENTRIES_WAITING: lambda: len(writer),
        metrics.FRESHNESS_SECONDS: lambda: watch.freshness_s,
        metrics.DELTAS: lambda: {("applied",): watch.deltas_applied, ("refused",): watch.deltas_refused},
        metrics.SOURCES_STOPPED: lambda: watched.rejections.stopped,
        metrics.JOURNAL_FAILED: lambda: int(writer.failure.is_set()),
        metrics.JOURNAL_HEAD: lambda: journal.head,
        metrics.JOURNAL_FIRST: lambda: journal.first,
    }


def _of_state(state: State) -> dict[Metric, Callable[[], Reading]]:
    return {
        metrics.IDENTIFIERS: lambda: len(state.profiles),
        metrics.PROFILES: lambda: state.profiles.identifiers.end - len(state.profiles.identifiers.free),
        metrics.CATALOG_VERSION: lambda: state.catalog_version,
        metrics.PROFILE_VERSION: lambda: state.profile_version,
    }


def _of_decision_log(stores: Stores) -> dict[Metric, Callable[[], Reading]]:
    log = stores.decisions
    return {
        metrics.RECORDS_WRITTEN: lambda: log.written,
        metrics.RECORDS_DROPPED: lambda: log.dropped,
        metrics.RECORDS_WAITING: lambda: log.waiting,
        metrics.RECORDS_OLDEST: lambda: log.oldest / 1e6 or None,
    }


def _of_disk(folder: DataFolder) -> dict[Metric, Callable[[], Reading]]:
    databases = {"journal": folder.journal, "decisions": folder.decisions, "vault": folder.vault}
    return {
        metrics.DATA_BYTES: lambda: {
            **{(name,): _size(path) + _size(path.with_name(path.name + "-wal")) for name, path in databases.items()},
            ("snapshots",): sum(map(_size, _files(folder.snapshots))),
        },
        metrics.DISK_FREE_BYTES: lambda: _disk(folder.path).f_bavail * _disk(folder.path).f_frsize,
        metrics.DISK_BYTES: lambda: _disk(folder.path).f_blocks * _disk(folder.path).f_frsize,
    }


def _of_snapshots(snapshotter: Snapshotter, folder: SnapshotFolder) -> dict[Metric, Callable[[], Reading]]:
    return {
        metrics.SNAPSHOT_SECONDS: lambda: snapshotter.took_s,
        metrics.SNAPSHOT_AGE_SECONDS: lambda: _age_s(folder),
    }


def _disk(path: Path) -> os.statvfs_result:
    return os.statvfs(path)


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    # It may go between two looks.
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _age_s(folder: SnapshotFolder) -> float | None:
    """How old the newest snapshot is, one that is whole."""
    with suppress(FileNotFoundError):
        for offset in folder.offsets():
            return max(time.time() - folder.path(offset).stat().st_mtime, 0.0)
    return None


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
