import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.rejections import RejectionLimit
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def is_stopped(limit: RejectionLimit, clock: ManualClock, source: str = "crm") -> bool:
    try:
        limit.check(source, clock())
    except OpportuneError as error:
        assert error.reason is ErrorReason.TOO_MANY_REJECTED
        return True
    return False


def test_source_is_stopped_beyond_its_limit_and_no_other(clock: ManualClock) -> None:
    limit = RejectionLimit(5)

    limit.count("crm", 5, clock())
    before = is_stopped(limit, clock)
    limit.count("crm", 1, clock())

    assert (before, is_stopped(limit, clock), is_stopped(limit, clock, "shop")) == (False, True, False)


def test_minute_begins_with_the_first_refusal(clock: ManualClock) -> None:
    limit = RejectionLimit(1)
    limit.count("crm", 0, clock())
    clock.advance(seconds=50)
    limit.count("crm", 1, clock())
    clock.advance(seconds=59)
    limit.count("crm", 1, clock())

    stopped = is_stopped(limit, clock)
    clock.advance(seconds=1)

    assert (stopped, is_stopped(limit, clock)) == (True, False)


def test_refusals_of_the_minute_before_do_not_count(clock: ManualClock) -> None:
    limit = RejectionLimit(1)
    limit.count("crm", 1, clock())
    clock.advance(seconds=60)
    limit.count("crm", 1, clock())

    assert not is_stopped(limit, clock)


def test_stopped_source_is_told_when_to_come_back(clock: ManualClock) -> None:
    limit = RejectionLimit(1)
    limit.count("crm", 2, clock())
    clock.advance(seconds=59.5)

    with pytest.raises(OpportuneError) as refused:
        limit.check("crm", clock())

    assert refused.value.retry_after_ms == 501
    assert refused.value.metadata == {"rejected_per_minute": "1"}
