import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DeltasReceived, DeltasRejected, IdentifiersLinked, Rejection
from server.domain.profile import ProfileDelta, RejectedDelta
from server.execution.write_watch import WriteWatch

DELTA = ProfileDelta("c:1", 0, None)
ERROR = OpportuneError(ErrorReason.TOO_MANY_IDENTIFIERS, "too many")


def test_commits_are_timed_and_sized() -> None:
    watch = WriteWatch()

    watch.committed(3, 0.002)
    watch.failed()

    assert (watch.commit_entries.sum, watch.commit_s.sum, watch.failures) == (3, 0.002, 1)


def test_deltas_are_counted_by_what_became_of_them() -> None:
    watch = WriteWatch()

    watch.applied(DeltasReceived(0, "crm", 1, (DELTA,) * 5), [RejectedDelta(0, ERROR)], 0.01)
    watch.applied(DeltasRejected(0, "crm", 1, (Rejection(0, "r", "m"),)), (), 0.01)

    assert (watch.deltas_applied, watch.deltas_refused) == (4, 1)


def test_freshness_is_that_of_profile_data() -> None:
    watch = WriteWatch()

    watch.applied(DeltasReceived(0, "crm", 1, (DELTA,)), (), 0.25)
    watch.applied(DeltasRejected(0, "crm", 1, ()), (), 9.0)
    watch.applied(IdentifiersLinked(0, "a", "b"), (), 9.0)

    assert watch.freshness_s.count == 1
    assert watch.freshness_s.sum == pytest.approx(0.25)
