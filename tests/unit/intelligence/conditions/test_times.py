from datetime import UTC, datetime, timedelta

import pytest

from server.domain.clock import microseconds_of
from server.intelligence.conditions.times import MAX_DURATION_US, duration_us, timestamp_us

SECOND, HOUR = 1_000_000, 3_600_000_000


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T18:30:00Z", datetime(2026, 1, 31, 18, 30, tzinfo=UTC)),
        ("2026-01-31t18:30:00z", datetime(2026, 1, 31, 18, 30, tzinfo=UTC)),
        ("2026-01-31T18:30:00+01:30", datetime(2026, 1, 31, 17, 0, tzinfo=UTC)),
        ("2026-01-31T18:30:00.5-00:00", datetime(2026, 1, 31, 18, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T18:30:00.000001Z", datetime(2026, 1, 31, 18, 30, 0, 1, tzinfo=UTC)),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_timestamp_is_that_of_rfc_3339(text: str, time: datetime) -> None:
    assert timestamp_us(text) == microseconds_of(time)


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-31", "2026-01-31T18:30:00", "2026-01-31 18:30:00Z", "2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z",
        "2026-01-31T18:30Z", "2026-01-31T18:30:00.1234567Z", "0001-01-01T00:00:00+01:00", "٢٠٢٦-01-31T18:30:00Z",
    ],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="written like 2026-01-31T18:30:00Z"):
        timestamp_us(text)


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("0", 0), ("-0", 0), ("0s", 0), ("36h", 36 * HOUR), ("1h30m", 1.5 * HOUR), ("1.5h", 1.5 * HOUR),
        ("-1h30m", -1.5 * HOUR), ("+90m", 1.5 * HOUR), (".5s", SECOND / 2), ("1.s", SECOND), ("1ms", 1_000), ("7us", 7),
        ("250ns", 0.25), ("1m1h", 61 * HOUR / 60), ("1h1h", 2 * HOUR), ("0.1s", 100_000),
    ],
)  # fmt: skip
def test_duration_is_the_sum_of_its_parts(text: str, expected_us: float) -> None:
    assert duration_us(text) == expected_us


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "written like 36h"),
        ("5", "written like 36h"),
        ("h", "written like 36h"),
        ("1h 30m", "written like 36h"),
        ("1h-30m", "written like 36h"),
        ("2d", "unknown unit d; a day is 24h"),
        ("1w", "unknown unit w; a week is 168h"),
        ("1µs", "unknown unit µs; write us"),
        ("3mms", "unknown unit mms; did you mean ms?"),
        ("3y", "unknown unit y; units are"),
        ("2562048h", "at most 292 years"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_hint(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        duration_us(text)


def test_longest_duration_is_that_of_cel() -> None:
    assert duration_us("2562047h") < MAX_DURATION_US < timedelta(hours=2_562_048) / timedelta(microseconds=1)
