from datetime import UTC, datetime, timedelta, timezone

import pytest

from server.domain.attribute import days_since_epoch
from server.domain.clock import days_of, microseconds_of, time_of


@pytest.mark.parametrize(
    ("time", "time_us"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2020, 1, 1, tzinfo=UTC), 1_577_836_800_000_000),
        (datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 7_258_118_399_999_999),
    ],
)
def test_microseconds_are_exact_both_ways(time: datetime, time_us: int) -> None:
    assert (microseconds_of(time), time_of(time_us)) == (time_us, time)


def test_time_zone_does_not_matter() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert microseconds_of(noon) == microseconds_of(noon.astimezone(timezone(timedelta(hours=-7))))


@pytest.mark.parametrize("time", [datetime(2020, 1, 1, tzinfo=UTC), datetime(1999, 7, 3, 15, 4, 5, 6, tzinfo=UTC)])
def test_days_are_those_since_the_epoch_of_rows(time: datetime) -> None:
    assert days_of(microseconds_of(time)) == pytest.approx(days_since_epoch(time), abs=1e-9)
