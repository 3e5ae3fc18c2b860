import pytest

from server.execution.pressure import (
    BULK_LEVEL,
    HURRY_LEVEL,
    INTERVAL_NS,
    LATER_LEVEL,
    LEVELS,
    TURN_NS,
    Pressure,
    Tier,
)

MS = 1_000_000
LEFT_NS = 100 * MS


def strained(pressure: Pressure, intervals: int, from_ns: int = 0) -> int:
    """So many intervals in which every call has waited for half of its time; when they are over."""
    for interval in range(intervals):
        pressure.waited(50 * MS, 50 * MS, from_ns + interval * INTERVAL_NS + 1)
    return from_ns + intervals * INTERVAL_NS + 1


def pressed(level: int) -> tuple[Pressure, int]:
    """A pressure of a level, and when it got there."""
    pressure = Pressure()
    now_ns = strained(pressure, level, INTERVAL_NS)
    assert pressure.at(now_ns) == level
    return pressure, now_ns


def test_level_rises_with_each_interval_in_which_the_queue_stood() -> None:
    pressure = Pressure()

    levels = [pressure.at(strained(pressure, 1, n * INTERVAL_NS)) for n in range(1, 12)]

    assert levels == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]


def test_burst_that_passes_within_an_interval_raises_nothing() -> None:
    pressure = Pressure()

    for call in range(10):
        pressure.waited(50 * MS, 50 * MS, INTERVAL_NS + call)
    for call in range(11):
        pressure.waited(0, 100 * MS, INTERVAL_NS + 50 * MS + call)

    assert pressure.at(3 * INTERVAL_NS) == 0


def test_wait_counts_by_the_time_that_there_was() -> None:
    patient, hurried = Pressure(), Pressure()

    for pressure, left_ns in ((patient, 5_000 * MS), (hurried, 80 * MS)):
        pressure.waited(20 * MS, left_ns, INTERVAL_NS + 1)

    assert (patient.at(2 * INTERVAL_NS + 1), hurried.at(2 * INTERVAL_NS + 1)) == (0, 1)


def test_level_falls_with_each_interval_that_is_calm_or_sees_nobody() -> None:
    pressure, now_ns = pressed(LEVELS)

    pressure.waited(0, LEFT_NS, now_ns + 1)
    calm = pressure.at(now_ns + INTERVAL_NS)
    long_after = pressure.at(now_ns + (LEVELS + 1) * INTERVAL_NS)

    assert (calm, long_after) == (LEVELS - 1, 0)


def test_rankings_are_told_the_truth_without_pressure_and_less_with_each_level() -> None:
    told = []
    for level in range(LEVELS + 1):
        pressure, now_ns = pressed(level)
        told.append(pressure.told_ns(now_ns))

    assert told[0] is None
    assert all(later is not None and later * 2 <= (before or later * 2) for before, later in zip(told, told[1:]))  # noqa: B905, RUF007


def test_what_is_told_begins_at_twice_what_a_ranking_took() -> None:
    pressure = Pressure()
    for _ in range(200):
        pressure.ranked(800_000, 300_000)

    now_ns = strained(pressure, 1, INTERVAL_NS)

    assert pressure.told_ns(now_ns) == pytest.approx(1_600_000, rel=0.05)
    assert pressure.cheapest_ns == pytest.approx(500_000, rel=0.05)


def test_what_degraded_rankings_take_does_not_lower_what_is_told_further() -> None:
    pressure, now_ns = pressed(2)
    before = pressure.told_ns(now_ns)

    for _ in range(100):
        pressure.ranked(1_000, 0)

    assert pressure.told_ns(now_ns) == before


@pytest.mark.parametrize(
    ("tier", "level"),
    [(Tier.BULK, BULK_LEVEL), (Tier.LATER, LATER_LEVEL), (Tier.LIVE, LEVELS + 1), (Tier.CONTROL, LEVELS + 1)],
)
def test_tiers_are_refused_one_after_the_other(tier: Tier, level: int) -> None:
    refused = []
    for each in range(LEVELS + 1):
        pressure, now_ns = pressed(each)
        refused.append(pressure.excess_ns(tier, 10 * LEFT_NS, 0, now_ns) > 0)

    assert refused == [each >= level for each in range(LEVELS + 1)]


def test_who_waits_for_no_longer_than_a_turn_is_not_refused_however_little_time_is_left() -> None:
    pressure, now_ns = pressed(LEVELS)

    excess = [pressure.excess_ns(Tier.LIVE, 1, wait_ns, now_ns) > 0 for wait_ns in (0, TURN_NS, TURN_NS + 1)]

    assert excess == [False, False, True]


def test_call_that_would_be_answered_late_is_refused_at_any_level() -> None:
    pressure = Pressure()

    excess = [
        pressure.excess_ns(Tier.LIVE, LEFT_NS, wait_ns, 0) > 0 for wait_ns in (4 * MS, 45 * MS, 55 * MS, 200 * MS)
    ]

    assert excess == [False, False, True, True]


def test_cheapest_ranking_counts_as_well_as_the_wait() -> None:
    pressure = Pressure()
    for _ in range(200):
        pressure.ranked(40 * MS, 0)

    assert pressure.excess_ns(Tier.LIVE, 70 * MS, 4 * MS, 0) > 0
    assert pressure.excess_ns(Tier.LIVE, 90 * MS, 4 * MS, 0) <= 0


def test_hard_pressed_a_live_call_may_wait_for_a_quarter_of_its_time() -> None:
    pressure, now_ns = pressed(HURRY_LEVEL)

    excess = [pressure.excess_ns(Tier.LIVE, LEFT_NS, wait_ns, now_ns) > 0 for wait_ns in (20 * MS, 30 * MS)]

    assert excess == [False, True]


def test_one_hiccup_moves_what_a_ranking_takes_by_a_bounded_step() -> None:
    pressure = Pressure()
    before = pressure.cheapest_ns

    pressure.ranked(10_000 * MS, 0)

    assert pressure.cheapest_ns <= 1.2 * before
