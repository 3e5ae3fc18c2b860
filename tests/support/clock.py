"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

from server.domain.clock import EPOCH_DAYS, MICROSECONDS_PER_DAY, microseconds_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_US = microseconds_of(NOON)
TODAY = NOON_US // MICROSECONDS_PER_DAY - EPOCH_DAYS
"""The day of `NOON`, in days since 2020."""


def us_ago(**duration: float) -> int:
    """The time so long before `NOON`, by `timedelta`'s arguments, in microseconds since 1970."""
    return microseconds_of(NOON - timedelta(**duration))


class ManualClock:
    """Tells the time that the test has set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        """Moves the time forward, by `timedelta`'s arguments."""
        self.now += timedelta(**duration)
