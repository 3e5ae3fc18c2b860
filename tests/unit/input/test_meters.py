from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.contact import ContactKind, Draw
from server.input.meters import FOREVER_US, MOST, Meter, Meters, SlidingSum
from tests.support.clock import NOON_US

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
UNIT = 1_000_000


class Added(NamedTuple):
    """An amount in a plain list."""

    time_us: int
    amount: int
    key: int


times = st.integers(-50, 50)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), times, st.integers(0, 9), st.integers(0, 5)),
        st.tuples(st.just("add"), times, st.integers(0, 9), st.integers(0, 5)),
        st.tuples(st.just("take"), times, st.just(0), st.integers(0, 5)),
        st.tuples(st.just("forget"), times, st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(operations, times)
def test_sliding_sum_is_that_of_a_plain_list(done: list[tuple[str, int, int, int]], asked: int) -> None:
    sliding = SlidingSum()
    plain: list[Added] = []
    for operation, time_us, amount, key in done:
        match operation:
            case "add":
                sliding.add(time_us, amount, key)
                plain.append(Added(time_us, amount, key))
            case "take":
                taken = sliding.take(time_us, key)
                fitting = [each for each in plain if (each.time_us, each.key) == (time_us, key)]
                assert taken in [each.amount for each in fitting] or (taken == 0 and not fitting)
                if fitting:
                    plain.remove(next(each for each in fitting if each.amount == taken))
            case "forget":
                gone = [each for each in plain if each.time_us <= time_us]
                plain = [each for each in plain if each.time_us > time_us]
                expected = (sum(each.amount for each in gone), max(each.time_us for each in gone)) if gone else None
                assert sliding.forget(time_us) == expected

    assert len(sliding) == len(plain)
    assert sliding.after(asked) == sum(each.amount for each in plain if each.time_us > asked)
    assert sliding.next_us(asked) == min((each.time_us for each in plain if each.time_us > asked), default=FOREVER_US)
    again = SlidingSum()
    again.restore({name: values.copy() for name, values in sliding.arrays().items()})
    again.add(asked + 1, 4)
    assert again.after(asked) == sliding.after(asked) + 4
    assert sorted(again.arrays()["times_us"].tolist()) == sorted([*(each.time_us for each in plain), asked + 1])


def test_sums_are_exact_when_they_run_over_what_a_word_holds() -> None:
    sliding = SlidingSum()
    largest = 1 << 60

    for number in range(100):
        sliding.forget(number - 3)
        sliding.add(number, largest, number)
        assert sliding.after(number - 3) == largest * min(number + 1, 3)

    assert sliding.take(98, 98) == largest
    assert sliding.after(97) == largest
    assert np.diff(sliding.arrays()["amounts"]).tolist() == [0]


@pytest.mark.parametrize(("later_us", "used"), [(0, 1), (HOUR_US - 1, 1), (HOUR_US, 0)])
def test_window_ends_when_what_was_committed_is_as_old_as_it(later_us: int, used: int) -> None:
    meter = Meter()

    meter.commit(NOON_US, HOUR_US, 1, NOON_US)

    assert meter.used(NOON_US + later_us, HOUR_US) == used


@pytest.mark.parametrize(("later_us", "used"), [(0, 1), (HOUR_US - 1, 1), (HOUR_US, 0)])
def test_hold_ends_at_its_time(later_us: int, used: int) -> None:
    meter = Meter()

    meter.hold(NOON_US + HOUR_US, 1, 7, NOON_US)

    assert meter.used(NOON_US + later_us, 0) == meter.used(NOON_US + later_us, DAY_US) == used


def test_without_window_everything_counts_for_ever() -> None:
    meter = Meter()

    for day in range(1_000):
        meter.commit(NOON_US + day * DAY_US, 0, 2, NOON_US + day * DAY_US)

    assert meter.used(NOON_US, 0) == 2_000
    assert len(meter.committed) == 0


def test_what_is_later_than_the_question_counts() -> None:
    meter = Meter()

    meter.commit(NOON_US + DAY_US, HOUR_US, 1, NOON_US)

    assert meter.used(NOON_US, HOUR_US) == 1


def test_time_far_ahead_does_not_make_what_counts_now_seem_old() -> None:
    meter = Meter()
    meter.commit(NOON_US, HOUR_US, 1, NOON_US)
    meter.hold(NOON_US + HOUR_US, 1, 7, NOON_US)

    meter.commit(NOON_US + 3_000 * DAY_US, HOUR_US, 1, NOON_US)
    meter.hold(NOON_US + 3_000 * DAY_US, 1, 8, NOON_US)

    assert meter.used(NOON_US, HOUR_US) == 4


def test_budget_for_ever_that_gets_a_window_counts_all_until_the_latest_of_it_is_over() -> None:
    meter = Meter()
    meter.commit(NOON_US, 0, 5, NOON_US)
    meter.commit(NOON_US + MINUTE_US, 0, 2, NOON_US)

    assert meter.used(NOON_US + HOUR_US, HOUR_US) == 7
    assert meter.next_us(NOON_US + HOUR_US, HOUR_US) == NOON_US + MINUTE_US + HOUR_US
    assert meter.used(NOON_US + MINUTE_US + HOUR_US, HOUR_US) == 0


def test_window_that_becomes_longer_counts_what_was_not_kept_for_it() -> None:
    meter = Meter()
    for hour in range(100):
        meter.commit(NOON_US + hour * HOUR_US, HOUR_US, 1, NOON_US + hour * HOUR_US)
    now_us = NOON_US + 99 * HOUR_US

    assert meter.used(now_us, HOUR_US) == 1
    assert meter.used(now_us, 30 * DAY_US) == 100
    assert len(meter.committed) <= 4


def test_answer_is_the_same_until_it_changes_by_itself() -> None:
    meter = Meter()
    meter.commit(NOON_US, HOUR_US, 1, NOON_US)
    meter.commit(NOON_US + MINUTE_US, HOUR_US, 1, NOON_US)
    meter.hold(NOON_US + 30 * MINUTE_US, 1, 7, NOON_US)

    changes = []
    now_us = NOON_US + MINUTE_US
    while (now_us := meter.next_us(now_us, HOUR_US)) < FOREVER_US // 2:
        changes.append((now_us - NOON_US, meter.used(now_us, HOUR_US)))

    assert changes == [(30 * MINUTE_US, 2), (HOUR_US, 1), (HOUR_US + MINUTE_US, 0)]


def test_ended_holds_are_let_go() -> None:
    meter = Meter()

    for minute in range(10_000):
        meter.hold(NOON_US + (minute + 15) * MINUTE_US, 1, minute, NOON_US + minute * MINUTE_US)

    assert len(meter.held) <= 31


def test_sum_for_ever_stops_before_it_overflows() -> None:
    meters = Meters()

    for _ in range(8):
        meters.reach([Draw("m", ContactKind.CLICK, 0, 1 << 60)], [ContactKind.CLICK], time_us=NOON_US, now_us=NOON_US)

    assert meters.by_id["m"].used(NOON_US, 0) == MOST
    assert restored(meters).by_id["m"].used(NOON_US, 0) == MOST


DRAWS = (
    Draw("decisions", ContactKind.DECISION, HOUR_US, UNIT),
    Draw("clicks", ContactKind.CLICK, HOUR_US, 3 * UNIT),
    Draw("refusals", ContactKind.DECLINED, HOUR_US, UNIT),
)


def decided() -> Meters:
    """Meters after a decision at noon that holds for an hour."""
    meters = Meters()
    meters.decide(DRAWS, 7, time_us=NOON_US, until_us=NOON_US + HOUR_US, now_us=NOON_US)
    return meters


def used(meters: Meters, now_us: int = NOON_US) -> dict[str, int]:
    """What is used of each meter in the hour."""
    return {name: meter.used(now_us, HOUR_US) for name, meter in meters.by_id.items()}


def restored(meters: Meters) -> Meters:
    """The same from a capture."""
    again = Meters()
    again.restore([dict(page.arrays) for page in meters.capture()])
    return again


def test_decision_commits_decisions_holds_what_it_may_become_and_no_refusal() -> None:
    assert used(decided()) == {"decisions": UNIT, "clicks": 3 * UNIT}


def test_outcome_commits_instead_of_what_was_held() -> None:
    meters = decided()

    meters.release(DRAWS, [ContactKind.IMPRESSION, ContactKind.CLICK], 7, NOON_US + HOUR_US)
    meters.reach(DRAWS, [ContactKind.IMPRESSION, ContactKind.CLICK], time_us=NOON_US + 5, now_us=NOON_US + 5)

    assert used(meters) == {"decisions": UNIT, "clicks": 3 * UNIT}
    assert used(meters, NOON_US + HOUR_US) == {"decisions": 0, "clicks": 3 * UNIT}


def test_only_the_hold_of_its_own_key_and_time_is_released() -> None:
    meters = decided()

    meters.release(DRAWS, [ContactKind.CLICK], 8, NOON_US + HOUR_US)
    meters.release(DRAWS, [ContactKind.CLICK], 7, NOON_US + HOUR_US + 1)
    meters.release(DRAWS, [ContactKind.IMPRESSION], 7, NOON_US + HOUR_US)

    assert used(meters)["clicks"] == 3 * UNIT


def test_changed_meters_are_told_to_everybody_since_they_asked_last() -> None:
    meters = decided()
    assert sorted(meters.changed_since(0)) == ["clicks", "decisions"]
    assert meters.changed_since(meters.changes) == []

    early = meters.changes
    meters.reach(DRAWS, [ContactKind.DECLINED], time_us=NOON_US, now_us=NOON_US)
    late = meters.changes
    meters.reach(DRAWS, [ContactKind.CLICK], time_us=NOON_US, now_us=NOON_US)

    assert meters.changed_since(late) == ["clicks"]
    assert meters.changed_since(early) == ["clicks", "refusals"]
    assert meters.changed_since(0) == ["clicks", "refusals", "decisions"]


def test_meters_come_back_as_they_were() -> None:
    meters = decided()
    meters.reach(DRAWS, list(ContactKind), time_us=NOON_US + 5, now_us=NOON_US + 5)
    meters.reach([Draw("ever", ContactKind.CLICK, 0, 9)], [ContactKind.CLICK], time_us=NOON_US, now_us=NOON_US)

    again = restored(meters)

    for now_us in (NOON_US, NOON_US + HOUR_US, NOON_US + HOUR_US + 5):
        assert used(again, now_us) == used(meters, now_us)
    again.release(DRAWS, [ContactKind.CLICK], 7, NOON_US + HOUR_US)
    assert used(again)["clicks"] == used(meters)["clicks"] - 3 * UNIT


def test_capture_of_meters_does_not_change_with_them() -> None:
    meters = decided()
    capture = meters.capture()

    meters.reach(DRAWS, [ContactKind.CLICK], time_us=NOON_US, now_us=NOON_US)

    again = Meters()
    again.restore([dict(page.arrays) for page in capture])
    assert used(again)["clicks"] == 3 * UNIT
