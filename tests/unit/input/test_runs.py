"""Runs."""

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from server.input.pages import Arrays, SavedPage
from server.input.runs import Columns, Runs

LAYOUT = {"keys": np.int64, "amounts": np.float32}


def columns(*keys: int) -> Columns:
    return np.array(keys, np.int64), np.array(keys, np.float32) / 2


def assign(runs: Runs, row: int, *keys: int) -> None:
    runs.assign(row, columns(*keys), len(keys))


def keys_of(runs: Runs, row: int) -> list[int]:
    found = runs.read(row)
    return [] if found is None else found[0].tolist()


def captured(pages: Iterable[SavedPage]) -> dict[str, list[Arrays]]:
    by_name: dict[str, list[Arrays]] = {}
    for page in sorted(pages, key=lambda page: page.number):
        by_name.setdefault(page.name, []).append(page.arrays)
    return by_name


@pytest.fixture
def runs() -> Runs:
    return Runs("test", LAYOUT, 64)


def test_row_without_a_run_has_none(runs: Runs) -> None:
    assign(runs, 1_000, 7)

    assert runs.read(999) is None
    assert runs.read(5_000) is None


def test_entries_are_added_behind_the_others_until_the_run_is_full(runs: Runs) -> None:
    assign(runs, 3, 1, 2)

    assert runs.append(3, columns(3, 4, 5, 6, 7, 8), 6)
    assert not runs.append(3, columns(9), 1)
    assert keys_of(runs, 3) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_entries_that_do_not_all_fit_change_nothing(runs: Runs) -> None:
    assign(runs, 3, *range(7))

    assert not runs.append(3, columns(7, 8), 2)
    assert keys_of(runs, 3) == list(range(7))


def test_every_column_goes_along(runs: Runs) -> None:
    assign(runs, 3, 1)
    runs.append(3, columns(4), 1)

    found = runs.read(3)

    assert found is not None
    assert found[1].tolist() == [0.5, 2.0]


def test_longer_run_takes_the_place_of_a_shorter_one_whose_room_is_given_again(runs: Runs) -> None:
    assign(runs, 3, *range(8))
    assign(runs, 3, *range(9))
    assign(runs, 4, 40)

    assert keys_of(runs, 3) == list(range(9))
    assert keys_of(runs, 4) == [40]


def test_run_that_grows_has_room_for_more_and_leaves_its_old_place_to_others(runs: Runs) -> None:
    assign(runs, 3, *range(8))

    assert runs.grow(3, 5)
    assert runs.append(3, columns(8, 9, 10, 11, 12), 5)
    assign(runs, 4, 40)
    assert keys_of(runs, 3) == list(range(13))
    assert keys_of(runs, 4) == [40]


def test_run_grows_to_the_largest_size_and_no_further(runs: Runs) -> None:
    assign(runs, 3, *range(60))

    assert runs.grow(3, 4)
    assert not runs.grow(3, 5)
    assert not runs.grow(4, 1)


def test_cleared_run_leaves_nothing_behind(runs: Runs) -> None:
    assign(runs, 3, *range(1, 9))

    runs.clear(3)

    saved = captured(runs.capture())
    assert keys_of(runs, 3) == []
    assert not any(arrays["keys"].any() for arrays in saved["test.8"])


def test_rows_with_runs_are_listed_in_order(runs: Runs) -> None:
    for row in (700, 3, 5):
        assign(runs, row, row)
    runs.clear(5)

    assert list(runs.rows()) == [3, 700]


def test_capture_holds_what_was_there_whatever_changes_meanwhile(runs: Runs) -> None:
    assign(runs, 3, 1, 2)
    assign(runs, 900, *range(20))
    saving = runs.capture()
    written = runs.writable(3)
    assert written is not None
    written[0][0] = 99
    runs.append(3, columns(5), 1)
    runs.clear(900)

    again = Runs("test", LAYOUT, 64)
    again.restore(captured(saving))

    assert keys_of(again, 3) == [1, 2]
    assert keys_of(again, 900) == list(range(20))


def test_restored_runs_give_free_room_again(runs: Runs) -> None:
    for row in range(5):
        assign(runs, row, row)
    runs.clear(2)

    again = Runs("test", LAYOUT, 64)
    again.restore(captured(runs.capture()))
    assign(again, 9, 90)
    assign(again, 10, 100)

    found: list[NDArray[np.int64] | list[int]] = [keys_of(again, row) for row in (0, 1, 2, 3, 4, 9, 10)]
    assert found == [[0], [1], [], [3], [4], [90], [100]]
