import math
import pickle
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from server.domain.clock import microseconds_of
from server.domain.quiet_hours import QuietHours, TimeZones
from server.intelligence.quiet import QuietClock, time_zone, zone_problems

NIGHT = QuietHours(22 * 60, 7 * 60)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu")
BERLIN, NEW_YORK, KATHMANDU = 0.0, 1.0, 2.0
NOWHERE = math.nan


def at(text: str, zone: str = "UTC") -> int:
    """A time on a clock of a zone, in microseconds."""
    return microseconds_of(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def clock(*hours: QuietHours, candidates: tuple[str, ...] = ()) -> QuietClock:
    """A clock for the zones."""
    return QuietClock(hours or (NIGHT,), ZONES, candidates)


def test_without_hours_there_is_nothing_to_ask() -> None:
    assert not QuietClock((), ZONES, ())
    assert clock()


@pytest.mark.parametrize(
    ("text", "zone", "code", "quiet"),
    [
        ("2026-11-22 21:59", "Europe/Berlin", BERLIN, False),
        ("2026-11-22 22:00", "Europe/Berlin", BERLIN, True),
        ("2026-11-23 06:59:59", "Europe/Berlin", BERLIN, True),
        ("2026-11-23 07:00", "Europe/Berlin", BERLIN, False),
        ("2026-11-22 22:00", "Europe/Berlin", NEW_YORK, False),
        ("2026-11-22 22:00", "America/New_York", NEW_YORK, True),
        ("2026-11-22 21:59", "Asia/Kathmandu", KATHMANDU, False),
        ("2026-11-22 22:00", "Asia/Kathmandu", KATHMANDU, True),
    ],
)
def test_customer_is_left_in_peace_by_their_own_clock(text: str, zone: str, code: float, quiet: bool) -> None:
    assert clock().is_quiet("web", code, at(text, zone)) is quiet


def utc(text: str) -> int:
    """A time of UTC."""
    return microseconds_of(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("instant", "quiet"),
    [
        # Clocks go from 2:00 to 3:00 at 1:00 UTC: the morning begins an hour earlier.
        ("2026-03-28 05:59", True),
        ("2026-03-28 06:00", False),
        ("2026-03-29 04:59", True),
        ("2026-03-29 05:00", False),
        # Clocks go from 3:00 to 2:00 at 1:00 UTC: the night is an hour longer.
        ("2026-10-24 20:00", True),
        ("2026-10-25 05:00", True),
        ("2026-10-25 05:59", True),
        ("2026-10-25 06:00", False),
        ("2026-10-25 20:59", False),
        ("2026-10-25 21:00", True),
    ],
)
def test_night_moves_with_summer_time(instant: str, quiet: bool) -> None:
    assert clock().is_quiet("web", BERLIN, utc(instant)) is quiet


def test_hour_that_comes_twice_is_quiet_twice_and_one_that_never_comes_is_not() -> None:
    hour = QuietHours(2 * 60, 3 * 60)

    assert [clock(hour).is_quiet("web", BERLIN, utc(f"2026-10-25 {h:02}:30")) for h in (0, 1, 2)] == [True, True, False]
    assert not any(clock(hour).is_quiet("web", BERLIN, utc(f"2026-03-29 {h:02}:30")) for h in (0, 1, 2))


def test_weekday_is_that_of_the_customer() -> None:
    sundays = QuietHours(0, 1440, days=(6,))

    assert clock(sundays).is_quiet("web", KATHMANDU, utc("2026-11-21 18:15"))
    assert not clock(sundays).is_quiet("web", BERLIN, utc("2026-11-21 18:15"))
    assert not clock(sundays).is_quiet("web", KATHMANDU, utc("2026-11-22 18:15"))
    assert clock(sundays).is_quiet("web", BERLIN, utc("2026-11-22 18:15"))


@pytest.mark.parametrize("code", [NOWHERE, -1.0, 3.0])
def test_unknown_place_is_quiet_if_any_candidate_is(code: float) -> None:
    somewhere = clock(candidates=("Europe/Berlin", "America/New_York"))

    assert somewhere.is_quiet("web", code, at("2026-11-22 23:00", "Europe/Berlin"))
    assert somewhere.is_quiet("web", code, at("2026-11-22 23:00", "America/New_York"))
    assert not somewhere.is_quiet("web", code, at("2026-11-22 21:00", "Europe/Berlin"))


def test_unknown_place_may_be_any_declared_zone_if_no_candidates_are_named() -> None:
    assert clock().is_quiet("web", NOWHERE, at("2026-11-22 23:00", "Asia/Kathmandu"))
    assert not QuietClock((NIGHT,), (), ()).is_quiet("web", NOWHERE, utc("2026-11-22 21:59"))
    assert QuietClock((NIGHT,), (), ()).is_quiet("web", NOWHERE, utc("2026-11-22 22:00"))


def test_hours_are_for_their_channels() -> None:
    only_sms = clock(QuietHours(0, 1440, channels=("sms",)))

    assert only_sms.is_quiet("sms", BERLIN, utc("2026-11-22 12:00"))
    assert not only_sms.is_quiet("web", BERLIN, utc("2026-11-22 12:00"))


def test_answers_are_remembered_for_their_minute_only() -> None:
    one = clock()

    before, after = utc("2026-11-22 20:59:59.999999"), utc("2026-11-22 21:00")
    assert [one.is_quiet("web", BERLIN, time_us) for time_us in (before, after, before)] == [False, True, False]


def test_clock_survives_the_way_from_the_compiler() -> None:
    again = pickle.loads(pickle.dumps(clock()))

    assert again.is_quiet("web", BERLIN, utc("2026-11-22 21:00"))


@pytest.mark.parametrize("name", ["", "Nowhere", "../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 5_000])
def test_what_is_no_zone_is_none(name: str) -> None:
    assert time_zone(name) is None


def test_zones_must_be_known() -> None:
    hours, by_attribute = (NIGHT,), TimeZones("zone", ("Europe/Berlin", "Mars/Olympus"))

    found = [problem.path for problem in zone_problems(hours, by_attribute, None)]
    assert found == ["time_zone.attribute", "time_zone.candidates[1]"]
    assert [p.path for p in zone_problems(hours, TimeZones("zone"), ["Asia/Tokyo", "Tokio"])] == ["time_zone.attribute"]
    assert zone_problems(hours, TimeZones("zone"), ["Asia/Tokyo"]) == []
    assert zone_problems((), TimeZones(), None) == []
