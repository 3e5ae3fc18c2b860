"""Every metric, in one place: what it is called, what it counts, in which unit, and what that means.

Nothing is measured here. Who measures takes one of these (`instruments.py`), and `server/observing.py` says where each
is read. `server/METRICS.md` is this list as a table: `python -m server metrics --markdown`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a metric moves: only upwards, both ways, or as counts of values by size."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: As it is exposed; a counter's ends in `_total`.
        unit: What its values are in: seconds, bytes, or what is counted.
        meaning: A sentence for whoever is woken by it.
        labels: Names of its labels; the values of each are few, and known in advance.
        bounds: Upper bounds of a histogram's buckets, in its unit.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

_CALL_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_STAGE_S = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025)
_WAIT_S = (5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

# Calls

CALL_SECONDS = Metric(
    "grpc_server_call_duration_seconds", _H, "seconds",
    "Time from the arrival of a call to its end, by method and status; `_count` is the number of calls. "
    "Streams count when they end.",
    ("grpc_method", "grpc_status"), _CALL_S,
)  # fmt: skip
CALLS_IN_FLIGHT = Metric(
    "opportune_calls_in_flight", _G, "calls",
    "Calls that have begun and not ended; of a streaming method, the streams that are open.",
    ("grpc_method",),
)  # fmt: skip
REFUSALS = Metric(
    "opportune_calls_failed_total", _C, "calls",
    "Calls that ended with another status than OK, by the reason that their callers were told. What a transport "
    "refuses by itself is not counted: metadata over 16 KiB, and in grpcio calls beyond its limits of size and of "
    "calls that wait.",
    ("grpc_method", "reason"),
)  # fmt: skip

# Decisions

DECISIONS = Metric(
    "opportune_decisions_total", _C, "decisions",
    "Decisions made, tried-out ones too, by what the answer is and by how much of the ranking the deadline allowed.",
    ("result", "rung"),
)  # fmt: skip
STAGE_SECONDS = Metric(
    "opportune_decision_stage_seconds", _H, "seconds",
    "Time that a stage of a decision took, of one decision in sixteen.",
    ("stage",), _STAGE_S,
)  # fmt: skip
OFFERS_HELD_BACK = Metric(
    "opportune_offers_held_back_total", _C, "offers",
    "Offers that would have been ranked and were held back by caps or by budgets, once for each that did.",
    ("by",),
)  # fmt: skip
DECISIONS_UNWRITTEN = Metric(
    "opportune_decisions_unwritten_total", _C, "decisions",
    "Decisions that the journal never got, as it was full or had failed; a restart forgets what they held.",
)  # fmt: skip

# Models

MODEL_FAILURES = Metric(
    "opportune_model_failures_total", _C, "runs", "Runs of a model that failed or were cut off.", ("model",)
)
MODEL_CUT_OFFS = Metric(
    "opportune_model_cut_offs_total", _C, "runs", "Runs of a model that were cut off as they took too long.", ("model",)
)
MODEL_OPENINGS = Metric(
    "opportune_model_circuit_openings_total", _C, "openings",
    "How often a model was left alone after failures.",
    ("model",),
)  # fmt: skip
MODEL_CIRCUIT = Metric(
    "opportune_model_circuit_state", _G, "state",
    "Whether a model is called: 0 always, 1 once to see whether it works again, 2 not.",
    ("model",),
)  # fmt: skip
SCORE_PSI = Metric(
    "opportune_score_psi", _G, "index",
    "Population stability index of a model's propensities for eligible offers against those of its training: below "
    "0.1 as in training, above 0.2 drifted. Absent below 1,000 scores, and for models without reference.",
    ("model",),
)  # fmt: skip
SCORES_SAMPLED = Metric(
    "opportune_scores_sampled_total", _C, "scores",
    "Propensities that the stability index has looked at: those of one full ranking in sixteen.",
    ("model",),
)  # fmt: skip

# The event loop and the process

LOOP_LAG_SECONDS = Metric(
    "opportune_loop_lag_seconds", _H, "seconds",
    "How late the event loop comes to what is due: a part of every answer's time.", (), _WAIT_S,
)  # fmt: skip
LOOP_LONGEST_SECONDS = Metric(
    "opportune_loop_longest_block_seconds", _G, "seconds",
    "The longest that the event loop was late in the last one to two minutes.",
)  # fmt: skip
LOOP_TASKS = Metric(
    "opportune_loop_tasks",
    _G,
    "tasks",
    "Tasks on the event loop: calls and streams that wait for something, and a few of its own.",
)
GC_SECONDS = Metric(
    "opportune_gc_pause_seconds", _H, "seconds",
    "How long a run of the garbage collector held everything up.", ("generation",), _WAIT_S,
)  # fmt: skip
MEMORY_BYTES = Metric("process_resident_memory_bytes", _G, "bytes", "Memory that the process holds.")
CPU_SECONDS = Metric("process_cpu_seconds_total", _C, "seconds", "CPU time that the process has used.")
OPEN_FDS = Metric("process_open_fds", _G, "descriptors", "File descriptors that are open.")
STARTED = Metric("process_start_time_seconds", _G, "seconds", "When the process was started, since 1970.")
SERVING = Metric(
    "opportune_serving", _G, "state", "1 if the server has caught up, has verified its models and takes calls, else 0."
)

# Writing

COMMIT_SECONDS = Metric(
    "opportune_journal_commit_seconds", _H, "seconds",
    "Time until a group of entries was durable, vault included.", (), _WAIT_S,
)  # fmt: skip
COMMIT_ENTRIES = Metric(
    "opportune_journal_commit_entries", _H, "entries", "Entries that were committed together.", (), _SIZES
)
COMMITS_FAILED = Metric(
    "opportune_journal_commits_failed_total", _C, "commits", "Groups of entries that could not be made durable."
)
ENTRIES_WAITING = Metric(
    "opportune_journal_entries_waiting", _G, "entries", "Entries that are not yet durable and visible."
)
JOURNAL_FAILED = Metric(
    "opportune_journal_failed", _G, "state",
    "1 if the journal takes nothing any more until the server is started again, else 0.",
)  # fmt: skip
JOURNAL_HEAD = Metric("opportune_journal_head", _G, "offset", "Offset of the last entry that is durable.")
JOURNAL_FIRST = Metric("opportune_journal_first", _G, "offset", "Offset of the oldest entry that is kept.")
DATA_BYTES = Metric(
    "opportune_data_bytes", _G, "bytes", "Size of what is kept on disk, with its write-ahead log.", ("store",)
)
DISK_FREE_BYTES = Metric("opportune_disk_free_bytes", _G, "bytes", "Free space on the disk of the data folder.")
DISK_BYTES = Metric("opportune_disk_bytes", _G, "bytes", "Size of the disk of the data folder.")
FRESHNESS_SECONDS = Metric(
    "opportune_freshness_seconds", _H, "seconds",
    "Time from taking a message of deltas or of a bulk load to rankings seeing it.", (), _WAIT_S,
)  # fmt: skip
DELTAS = Metric(
    "opportune_deltas_total", _C, "deltas",
    "Deltas that were applied, and deltas that were refused and acknowledged past.", ("outcome",),
)  # fmt: skip
SOURCES_STOPPED = Metric(
    "opportune_sources_stopped_total", _C, "messages",
    "Messages that were refused as their source had too many bad deltas within a minute.",
)  # fmt: skip
SNAPSHOT_AGE_SECONDS = Metric(
    "opportune_snapshot_age_seconds", _G, "seconds", "Age of the newest snapshot; absent before the first one."
)
SNAPSHOT_SECONDS = Metric(
    "opportune_snapshot_duration_seconds", _G, "seconds",
    "How long the last snapshot took; absent before the first one since the start.",
)  # fmt: skip

# The decision log

RECORDS_WRITTEN = Metric(
    "opportune_decision_log_written_total", _C, "records", "Records that the decision log has kept."
)
RECORDS_DROPPED = Metric(
    "opportune_decision_log_dropped_total", _C, "records", "Records that the decision log could not keep."
)
RECORDS_WAITING = Metric("opportune_decision_log_waiting", _G, "records", "Records that wait in memory to be written.")
RECORDS_OLDEST = Metric(
    "opportune_decision_log_oldest_seconds", _G, "seconds",
    "Time of the oldest decision that is kept, since 1970; absent while there is none.",
)  # fmt: skip

# What is known

PROFILES = Metric(
    "opportune_profiles", _G, "rows",
    "Profiles that are kept: one for each identifier, and one more for each customer of several identifiers.",
)  # fmt: skip
IDENTIFIERS = Metric("opportune_identifiers", _G, "identifiers", "Identifiers that are known.")
CATALOG_VERSION = Metric("opportune_catalog_version", _G, "version", "Version of the catalog in force, 0 for none.")
PROFILE_VERSION = Metric("opportune_profile_version", _G, "offset", "Offset of the last entry that rankings see.")

# Telling itself

LINES_SUPPRESSED = Metric(
    "opportune_log_lines_suppressed_total", _C, "lines", "Log lines of failed calls that their rate limit kept back."
)
SPANS_EXPORTED = Metric("opportune_spans_exported_total", _C, "spans", "Spans that the trace collector has taken.")
SPANS_DROPPED = Metric(
    "opportune_spans_dropped_total", _C, "spans",
    "Spans that were lost, as the collector did not take them or too many waited.",
)  # fmt: skip
UNREADABLE = Metric(
    "opportune_metrics_unreadable_total", _C, "readings", "Metrics that were left out of a scrape by a fault of ours."
)

ALL: tuple[Metric, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))


def markdown(metrics: Sequence[Metric] = ALL) -> str:
    """The metrics as a page."""
    rows = [
        f"| `{each.name}` | {each.kind} | {each.unit} | {', '.join(f'`{label}`' for label in each.labels)} "
        f"| {each.meaning} |"
        for each in metrics
    ]
    return "\n".join([*_HEAD, *rows]) + "\n"


_HEAD = (
    "# Metrics",
    "",
    "Served at `/metrics` of `--metrics-listen`, as Prometheus text or OpenMetrics. None has a label that names a "
    "customer.",
    "Made from `server/telemetry/metrics.py` by `python -m server metrics --markdown`.",
    "",
    "| metric | type | unit | labels | meaning |",
    "| --- | --- | --- | --- | --- |",
)
