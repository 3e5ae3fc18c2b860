"""Times: whole microseconds since 1970, as entries and deltas carry them, and days since 2020, as rows hold them."""

from datetime import UTC, datetime, timedelta

MICROSECONDS_PER_DAY = 86_400_000_000
EPOCH_DAYS = 18_262
"""Days from 1970 to 2020, the epoch of rows."""

LATEST_US = 7_258_118_400_000_000
"""The year 2200: times are before it, and not before 1970."""

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(time: datetime) -> int:
    """Microseconds from 1970 to a time with time zone."""
    since = time - _UNIX
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def time_of(time_us: int) -> datetime:
    """The time of microseconds since 1970."""
    return _UNIX + timedelta(microseconds=time_us)


def days_of(time_us: int) -> float:
    """Days from 2020 to a time in microseconds since 1970, negative before it."""
    return time_us / MICROSECONDS_PER_DAY - EPOCH_DAYS


def day_of(time_us: int) -> int:
    """The whole day since 2020 of a time in microseconds since 1970."""
    return time_us // MICROSECONDS_PER_DAY - EPOCH_DAYS
