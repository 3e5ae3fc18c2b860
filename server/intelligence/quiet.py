"""Is it quiet now, where this customer is? Quiet hours on the customer's own clock."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cachetools import LRUCache

from server.domain.catalog import Problem
from server.domain.quiet_hours import QuietHours, TimeZones

_MINUTE_US = 60_000_000
_REMEMBERED = 4_096


def time_zone(name: str) -> ZoneInfo | None:
    """The IANA time zone of a name, None if there is none. Names are looked up in the zone database, never as paths."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


class QuietClock:
    """Tells for a channel and a customer's time zone whether it is quiet. Within a minute the answer is the same."""

    def __init__(self, hours: Sequence[QuietHours], zones: Sequence[str], candidates: Sequence[str]) -> None:
        """`zones` are the declared zones in the order of their codes; `candidates` where anybody else may be."""
        self._hours = tuple(hours)
        self._zones = tuple(zones)
        self._candidates = tuple(candidates) or self._zones or ("UTC",)
        self._answers: LRUCache[tuple[str, int, int], bool] = LRUCache(_REMEMBERED)

    def __bool__(self) -> bool:
        return bool(self._hours)

    def is_quiet(self, channel: str, code: float, time_us: int) -> bool:
        """Whether to be silent on a channel at a time; a code of NaN or without zone is an unknown place.

        Somebody at an unknown place is left in peace while it is quiet at any of the candidates.
        """
        zone = -1 if math.isnan(code) else int(code)
        key = (channel, zone, time_us // _MINUTE_US)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._ask(channel, zone, time_us)
        return answer

    def _ask(self, channel: str, zone: int, time_us: int) -> bool:
        hours = [each for each in self._hours if not each.channels or channel in each.channels]
        names = self._candidates if not 0 <= zone < len(self._zones) else (self._zones[zone],)
        return any(_covers(each, name, time_us) for each in hours for name in names)

    def __getstate__(self) -> object:
        return self._hours, self._zones, self._candidates

    def __setstate__(self, state: tuple[tuple[QuietHours, ...], tuple[str, ...], tuple[str, ...]]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # What was remembered stays behind.


def zone_problems(hours: Sequence[QuietHours], time_zones: TimeZones, values: Sequence[str] | None) -> list[Problem]:
    """What is wrong with the zones; `values` are those of the attribute, None if it is no category of customers."""
    problems = []
    if time_zones.attribute and values is None:
        problems.append(Problem("time_zone.attribute", f"{time_zones.attribute} is not a category of customers"))
    for place, name in enumerate(time_zones.candidates):
        if time_zone(name) is None:
            problems.append(Problem(f"time_zone.candidates[{place}]", f"{name!r} is not an IANA time zone"))
    unknown = [name for name in values or () if time_zone(name) is None] if hours or time_zones.attribute else []
    if unknown:
        names = ", ".join(repr(name) for name in unknown[:5])
        problems.append(Problem("time_zone.attribute", f"not every value is an IANA time zone: {names}"))
    return problems


def _covers(hours: QuietHours, zone: str, time_us: int) -> bool:
    local = datetime.fromtimestamp(time_us // 1_000_000, UTC).astimezone(ZoneInfo(zone))
    return hours.covers(local.weekday(), local.hour * 60 + local.minute)
