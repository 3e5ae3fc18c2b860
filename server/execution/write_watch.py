"""Watches the writer: how long entries take to be durable and visible, and how many deltas were taken or refused."""

from collections.abc import Sequence

from server.domain.journal import DeltasReceived, DeltasRejected, Entry, ProfilesLoaded
from server.domain.profile import RejectedDelta
from server.telemetry import metrics
from server.telemetry.instruments import Distribution


class WriteWatch:
    """What became of entries.

    Attributes:
        commit_s: How long commits took.
        commit_entries: How many entries they had.
        freshness_s: How long profile data took from being taken to being seen by rankings.
        failures: How many commits failed.
        deltas_applied, deltas_refused: How many deltas went each way.
    """

    __slots__ = ("commit_entries", "commit_s", "deltas_applied", "deltas_refused", "failures", "freshness_s")

    def __init__(self) -> None:
        self.commit_s = Distribution(metrics.COMMIT_SECONDS)
        self.commit_entries = Distribution(metrics.COMMIT_ENTRIES)
        self.freshness_s = Distribution(metrics.FRESHNESS_SECONDS)
        self.failures = 0
        self.deltas_applied = 0
        self.deltas_refused = 0

    def committed(self, entries: int, seconds: float) -> None:
        """So many entries became durable in so long."""
        self.commit_entries.observe(entries)
        self.commit_s.observe(seconds)

    def failed(self) -> None:
        """A commit failed."""
        self.failures += 1

    def applied(self, entry: Entry, refused: Sequence[RejectedDelta], seconds: float) -> None:
        """An entry became visible, so long after it was taken."""
        kind = type(entry)
        if kind is DeltasReceived:
            assert isinstance(entry, DeltasReceived)
            self.deltas_applied += len(entry.deltas) - sum(not each.applied for each in refused)
        elif kind is DeltasRejected:
            assert isinstance(entry, DeltasRejected)
            self.deltas_refused += len(entry.rejections)
            return
        elif kind is not ProfilesLoaded:
            return
        self.freshness_s.observe(seconds)
