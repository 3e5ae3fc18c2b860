"""Quiet hours: when a channel is silent, in the customer's own time."""

from dataclasses import dataclass

MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietHours:
    """No contact on these channels from one minute of the local day to another, which may lie on the next day.

    `channels` empty: all. `days`: only nights that begin on these weekdays (0 is Monday); empty: every day.
    """

    start_minute: int
    end_minute: int
    channels: tuple[str, ...] = ()
    days: tuple[int, ...] = ()

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether it is quiet at a minute of a local day."""
        if self.start_minute < self.end_minute:
            return self._begins(weekday) and self.start_minute <= minute < self.end_minute
        return (self._begins(weekday) and minute >= self.start_minute) or (
            self._begins((weekday - 1) % 7) and minute < self.end_minute
        )

    def _begins(self, weekday: int) -> bool:
        return not self.days or weekday in self.days


@dataclass(frozen=True, slots=True)
class TimeZones:
    """Which customer attribute names the time zone, and which zones a customer without one may be in.

    With none of either, everybody is in UTC.
    """

    attribute: str = ""
    candidates: tuple[str, ...] = ("UTC",)


UTC = TimeZones()
