import numpy as np
import pytest

from server.domain.attribute import BoolRow
from server.input.event_times import NEVER, EventTimes
from server.input.pages import PAGE_ROWS, Arrays

WIDTH = 3


@pytest.fixture
def times() -> EventTimes:
    return EventTimes("times", WIDTH)


def present(*cells: int) -> BoolRow:
    flags = np.zeros(WIDTH, np.bool_)
    flags[list(cells)] = True
    return flags


def stamp(times: EventTimes, cells: tuple[int, ...], time_us: int, *have: int, row: int = 0) -> list[int]:
    return list(times.stamp(row, cells, time_us, lambda: present(*have)))


def of(times: EventTimes, *have: int, row: int = 0) -> list[int]:
    return [int(time) for time in times.times(row, present(*have))]


def is_shared(times: EventTimes) -> bool:
    """Whether no row has needed times of its own."""
    return not any(page.name == "times.own" for page in times.capture())


def test_cell_that_was_never_set_has_the_time_never(times: EventTimes) -> None:
    assert of(times) == [NEVER] * 3


def test_cells_that_are_set_together_share_one_time(times: EventTimes) -> None:
    assert stamp(times, (0, 2), 5) == [0, 2]

    assert of(times, 0, 2) == [5, NEVER, 5]
    assert is_shared(times)


def test_cells_that_are_set_at_the_same_time_one_after_the_other_share_it(times: EventTimes) -> None:
    stamp(times, (0,), 5)

    assert stamp(times, (0, 1), 5, 0) == [0, 1]
    assert of(times, 0, 1) == [5, 5, NEVER]
    assert is_shared(times)


def test_cells_set_at_different_times_have_times_of_their_own(times: EventTimes) -> None:
    stamp(times, (0, 1), 5)

    assert stamp(times, (1, 2), 7, 0, 1) == [1, 2]
    assert of(times, 0, 1, 2) == [5, 7, 7]


def test_earlier_time_wins_only_cells_that_were_never_set(times: EventTimes) -> None:
    stamp(times, (0, 1), 5)

    assert stamp(times, (1, 2), 3, 0, 1) == [2]
    assert of(times, 0, 1, 2) == [5, 5, 3]


def test_same_time_wins_again(times: EventTimes) -> None:
    stamp(times, (0,), 5)
    stamp(times, (1,), 9, 0)

    assert stamp(times, (0, 1), 5, 0, 1) == [0]


def test_rows_do_not_share_times(times: EventTimes) -> None:
    stamp(times, (0,), 5)
    stamp(times, (0,), 7, row=1)
    stamp(times, (1,), 8, 0, row=1)

    assert (of(times, 0), of(times, 0, 1, row=1), of(times, row=2)) == (
        [5, NEVER, NEVER], [7, 8, NEVER], [NEVER] * 3
    )  # fmt: skip


def test_cleared_row_was_never_set_and_its_place_is_given_again(times: EventTimes) -> None:
    for row in range(3):
        stamp(times, (0,), 5, row=row)
        stamp(times, (1,), 6, 0, row=row)

    times.clear(1)
    assert of(times, 0, 1, row=1) == [NEVER] * 3
    stamp(times, (2,), 1, row=9)
    stamp(times, (1,), 2, 2, row=9)

    assert of(times, 1, 2, row=9) == [NEVER, 2, 1]
    assert (of(times, 0, 1, row=0), of(times, 0, 1, row=2)) == ([5, 6, NEVER], [5, 6, NEVER])


def test_time_may_be_any_but_never(times: EventTimes) -> None:
    for time_us in (-5, 0, 2**62):
        assert stamp(times, (0,), time_us, 0) == [0]

    assert stamp(times, (0,), -(2**62), 0) == []


def test_blank_rows_are_stamped_together_and_others_are_told(times: EventTimes) -> None:
    stamp(times, (0,), 5, row=1)
    stamp(times, (0,), 7, row=2)
    stamp(times, (0,), 7, row=3)
    stamp(times, (1,), 8, 0, row=3)

    fits = times.stamp_blank(np.array([0, 1, 2, 3]), np.array([5, 5, 5, 7]))

    assert fits.tolist() == [True, True, False, False]
    assert (of(times, 0, row=0), of(times, 0, row=1), of(times, 0, row=2)) == (
        [5, NEVER, NEVER], [5, NEVER, NEVER], [7, NEVER, NEVER]
    )  # fmt: skip


def test_relayout_moves_times_with_their_cells(times: EventTimes) -> None:
    stamp(times, (0, 1), 5)
    stamp(times, (2,), 6, 0, 1)

    times.relayout(np.array([2, 0]), np.array([0, 3]), 4)

    assert times.times(0, np.ones(4, np.bool_)).tolist() == [6, NEVER, NEVER, 5]


def test_restored_times_are_the_same_and_go_on_alike(times: EventTimes) -> None:
    for row in (0, 1, PAGE_ROWS + 1):
        stamp(times, (0,), 5, row=row)
        stamp(times, (1,), 6, 0, row=row)
    stamp(times, (0,), 5, row=2)
    times.clear(0)

    pages: dict[str, dict[int, Arrays]] = {}
    for page in times.capture():
        pages.setdefault(page.name, {})[page.number] = page.arrays
    again = EventTimes("times", WIDTH)
    again.restore({name: [some[number] for number in sorted(some)] for name, some in pages.items()})

    for each in (times, again):
        for row in (3, 4):
            stamp(each, (0,), 1, row=row)
            stamp(each, (2,), 2, 0, row=row)
    for row in (0, 1, 2, 3, 4, PAGE_ROWS + 1):
        assert of(again, 0, 1, 2, row=row) == of(times, 0, 1, 2, row=row)
