import numpy as np
import pytest

from server.input.day_buckets import DayBuckets, bucket_key, columns_of_keys, days_of_keys, live_buckets
from server.input.pages import PAGE_ROWS, Arrays

WINDOWS = np.array([0, 7, 30], np.int64)


def add(
    buckets: DayBuckets, day: int, amount: float = 1.0, *, row: int = 0, column: int = 1, today: int = 10**6
) -> None:
    buckets.add(row, bucket_key(day, column), amount, WINDOWS, today)


def of(buckets: DayBuckets, row: int = 0) -> dict[tuple[int, int], float]:
    """The amounts of a row by day and column; no day and column may stand twice."""
    found = buckets.read(row)
    if found is None:
        return {}
    keys, amounts = found
    cells = list(zip(days_of_keys(keys).tolist(), columns_of_keys(keys).tolist(), strict=True))
    assert len(set(cells)) == len(cells)
    return dict(zip(cells, amounts.tolist(), strict=True))


def restored(buckets: DayBuckets) -> DayBuckets:
    pages: dict[str, dict[int, Arrays]] = {}
    for page in buckets.capture():
        pages.setdefault(page.name, {})[page.number] = page.arrays
    again = DayBuckets()
    again.restore({name: [some[number] for number in sorted(some)] for name, some in pages.items()})
    return again


@pytest.mark.parametrize(("day", "column"), [(0, 0), (2_517, 65_535), (-18_262, 3), (65_744, 1)])
def test_key_tells_its_day_and_column(day: int, column: int) -> None:
    keys = np.array([bucket_key(day, column)])

    assert (days_of_keys(keys).tolist(), columns_of_keys(keys).tolist()) == ([day], [column])


def test_row_without_events_has_no_buckets() -> None:
    assert DayBuckets().read(5) is None


def test_amounts_of_one_day_and_column_add_up() -> None:
    buckets = DayBuckets()

    for day, column, amount in [(3, 1, 1.5), (4, 1, 2.0), (3, 2, 4.0), (3, 1, -0.5)]:
        add(buckets, day, amount, column=column)

    assert of(buckets) == {(3, 1): 1.0, (4, 1): 2.0, (3, 2): 4.0}


@pytest.mark.parametrize("days", [8, 9, 16, 17, 100, 1_000])
def test_row_has_as_many_buckets_as_its_windows_reach(days: int) -> None:
    buckets = DayBuckets()
    everything = np.full(3, 10**6, np.int64)

    for day in range(days):
        buckets.add(0, bucket_key(day, 1), float(day), everything, 10**6)

    assert of(buckets) == {(day, 1): float(day) for day in range(days)}


def test_full_run_lets_go_of_the_days_that_no_window_reaches() -> None:
    buckets = DayBuckets()

    for day in range(9):
        add(buckets, day)

    assert of(buckets) == {(day, 1): 1.0 for day in range(1, 9)}


def test_days_that_a_longer_window_reaches_are_kept() -> None:
    buckets = DayBuckets()

    for day in range(0, 36, 4):
        add(buckets, day, column=1)
        add(buckets, day, column=2)

    assert {day for day, column in of(buckets) if column == 2} >= set(range(4, 36, 4))


def test_date_far_ahead_lets_go_of_nothing() -> None:
    buckets = DayBuckets()
    for day in range(100, 107):
        add(buckets, day, today=107)

    add(buckets, 60_000, today=107)
    add(buckets, 107, today=107)

    assert of(buckets) == {(day, 1): 1.0 for day in [*range(101, 107), 60_000, 107]}


def test_date_long_past_lets_go_of_nothing() -> None:
    buckets = DayBuckets()
    for day in range(7):
        add(buckets, 100 + day)

    for day in range(30):
        add(buckets, day)

    assert {cell for cell in of(buckets) if cell[0] >= 100} == {(100 + day, 1) for day in range(7)}


def test_rows_do_not_share_buckets() -> None:
    buckets = DayBuckets()

    for row in (0, 1, PAGE_ROWS, 5 * PAGE_ROWS + 3):
        add(buckets, row, float(row), row=row)

    assert [of(buckets, row) for row in (0, 1, PAGE_ROWS, 2)] == [
        {(0, 1): 0.0}, {(1, 1): 1.0}, {(PAGE_ROWS, 1): float(PAGE_ROWS)}, {}
    ]  # fmt: skip


def test_cleared_row_has_none_and_its_place_is_given_again_empty() -> None:
    buckets = DayBuckets()
    for row in (0, 1):
        add(buckets, 3, row=row)
        add(buckets, 4, row=row)

    buckets.clear(0)
    add(buckets, 9, row=2)

    assert (of(buckets, 0), of(buckets, 2)) == ({}, {(9, 1): 1.0})
    assert of(buckets, 1) == {(3, 1): 1.0, (4, 1): 1.0}


def test_clearing_a_row_without_buckets_is_fine() -> None:
    DayBuckets().clear(3 * PAGE_ROWS)


def test_assigned_buckets_replace_those_there_were() -> None:
    buckets = DayBuckets()
    for day in range(20):
        add(buckets, day, column=2)

    buckets.assign(0, np.array([bucket_key(1, 1)]), np.array([5.0], np.float32))
    assert of(buckets) == {(1, 1): 5.0}

    buckets.assign(0, np.empty(0, np.int64), np.empty(0, np.float32))
    assert buckets.read(0) is None


def test_of_more_buckets_than_there_is_room_the_latest_days_stay() -> None:
    buckets = DayBuckets()
    keys = np.array([bucket_key(day, 1) for day in range(262_150)])

    buckets.assign(0, keys[::-1], np.ones(len(keys), np.float32))

    found = buckets.read(0)
    assert found is not None
    assert (len(found[0]), int(days_of_keys(found[0]).min())) == (262_144, 6)


def test_relayout_moves_buckets_with_their_columns() -> None:
    buckets = DayBuckets()
    for column in (1, 2):
        add(buckets, 3, float(column), column=column)
    add(buckets, 3, column=2, row=1)

    buckets.relayout({1: 5})

    assert (of(buckets, 0), buckets.read(1)) == ({(3, 5): 1.0}, None)


def test_relayout_without_any_target_forgets_everything() -> None:
    buckets = DayBuckets()
    add(buckets, 3)

    buckets.relayout({})

    assert buckets.read(0) is None


def test_restored_buckets_are_the_same_and_go_on_alike() -> None:
    buckets = DayBuckets()
    for row in range(40):
        for day in range(row):
            add(buckets, day, row=row, column=2)
    for row in (3, 12, 30):
        buckets.clear(row)

    again = restored(buckets)
    for each in (buckets, again):
        for row in (3, 12, 41):
            add(each, 5, 7.0, row=row)
        for day in range(20):
            add(each, 1_000 + day, row=39)

    assert [of(again, row) for row in range(45)] == [of(buckets, row) for row in range(45)]


def test_capture_is_of_its_moment_while_runs_grow_and_move() -> None:
    buckets = DayBuckets()
    for day in range(6):
        add(buckets, day, column=2)
        add(buckets, day, column=2, row=1)
    moment = of(buckets)

    capture = buckets.capture()
    for day in range(6, 30):
        add(buckets, day, column=2)
    buckets.clear(1)
    pages: dict[str, dict[int, Arrays]] = {}
    for page in capture:
        pages.setdefault(page.name, {})[page.number] = page.arrays
    again = DayBuckets()
    again.restore({name: [some[number] for number in sorted(some)] for name, some in pages.items()})

    assert of(again, 0) == of(again, 1) == moment


def test_bucket_lives_on_its_day_and_the_days_of_its_window_after_it() -> None:
    keys = np.array([bucket_key(day, 1) for day in (93, 94, 100, 101)])

    assert live_buckets(keys, WINDOWS, 100).tolist() == [False, True, True, True]
    assert live_buckets(keys, WINDOWS, 10**6).tolist() == [False, False, True, True]


def test_no_buckets_are_no_live_ones() -> None:
    assert live_buckets(np.empty(0, np.int64), WINDOWS, 100).tolist() == []


def test_buckets_of_many_rows_are_those_of_each_and_nothing_beside_them() -> None:
    buckets = DayBuckets()
    for row, days in [(0, 3), (2, 20), (PAGE_ROWS + 1, 9), (5, 8)]:
        for day in range(days):
            add(buckets, day, day + row + 1.0, row=row, column=2)
    buckets.clear(5)
    add(buckets, 7, 0.5, row=6)

    rows = np.array([PAGE_ROWS + 1, 1, 2, 5, 9 * PAGE_ROWS, 6, 0])
    owners, sizes, keys, amounts = buckets.gather(rows)

    assert owners.tolist() == [0, 2, 5, 6]
    ends = np.cumsum(sizes)
    for owner, start, end in zip(rows[owners].tolist(), ends - sizes, ends, strict=True):
        found = buckets.read(owner)
        assert found is not None
        used = len(found[0])
        np.testing.assert_array_equal(keys[start : start + used], found[0])
        np.testing.assert_array_equal(amounts[start : start + used], found[1])
        assert not amounts[start + used : end].any()


def test_rows_without_buckets_have_nothing_to_gather() -> None:
    assert [len(part) for part in DayBuckets().gather(np.arange(3))] == [0, 0, 0, 0]
