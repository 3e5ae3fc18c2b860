import pytest

from server.domain.quiet_hours import QuietHours

MONDAY, TUESDAY, SATURDAY, SUNDAY = 0, 1, 5, 6


def at(clock: str) -> int:
    """The minute of a day."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.parametrize(
    ("clock", "quiet"), [("12:59", False), ("13:00", True), ("14:59", True), ("15:00", False), ("00:00", False)]
)
def test_hours_within_a_day_begin_inclusive_and_end_exclusive(clock: str, quiet: bool) -> None:
    assert QuietHours(at("13:00"), at("15:00")).covers(MONDAY, at(clock)) is quiet


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("20:59", False), ("21:00", True), ("23:59", True), ("00:00", True), ("07:59", True), ("08:00", False)],
)
def test_hours_may_go_on_past_midnight(clock: str, quiet: bool) -> None:
    assert QuietHours(at("21:00"), at("08:00")).covers(TUESDAY, at(clock)) is quiet


def test_weekdays_are_those_on_which_a_night_begins() -> None:
    hours = QuietHours(at("21:00"), at("08:00"), days=(SATURDAY,))

    assert hours.covers(SATURDAY, at("22:00"))
    assert hours.covers(SUNDAY, at("07:00"))
    assert not hours.covers(SATURDAY, at("07:00"))
    assert not hours.covers(SUNDAY, at("22:00"))


def test_night_of_sunday_ends_on_monday() -> None:
    hours = QuietHours(at("21:00"), at("08:00"), days=(SUNDAY,))

    assert hours.covers(MONDAY, at("07:00"))
    assert not hours.covers(SUNDAY, at("07:00"))


def test_whole_day_is_quiet_from_midnight_to_midnight() -> None:
    sundays = QuietHours(0, 1440, days=(SUNDAY,))

    assert all(sundays.covers(SUNDAY, minute) for minute in (0, 1, 720, 1439))
    assert not any(sundays.covers(day, minute) for day in (MONDAY, SATURDAY) for minute in (0, 1439))


def test_night_that_begins_at_the_end_of_a_day_is_the_next_morning() -> None:
    hours = QuietHours(1440, at("06:00"), days=(SATURDAY,))

    assert hours.covers(SUNDAY, at("05:59"))
    assert not hours.covers(SATURDAY, at("05:59"))
    assert not hours.covers(SATURDAY, 1439)
