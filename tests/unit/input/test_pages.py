from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from server.input.pages import PAGE_ROWS, Arrays, Pages, SavedPage, by_page

ROWS = 4


class Page:
    """Four numbers."""

    def __init__(self) -> None:
        self.numbers: NDArray[np.int64] = np.zeros(ROWS, np.int64)

    def arrays(self) -> Arrays:
        return {"numbers": self.numbers}


@pytest.fixture
def pages() -> Pages[Page]:
    made: Pages[Page] = Pages("numbers", Page, ROWS)
    made.grow_to(3 * ROWS)
    return made


def write(pages: Pages[Page], row: int, number: int) -> None:
    pages.writable(row // ROWS).numbers[row % ROWS] = number


def saved(capture: Iterator[SavedPage]) -> dict[int, list[int]]:
    """The captured numbers by page; no page may come twice."""
    found: dict[int, list[int]] = {}
    for name, number, arrays in capture:
        assert name == "numbers"
        assert number not in found
        found[number] = arrays["numbers"].tolist()
    return found


def now(pages: Pages[Page]) -> dict[int, list[int]]:
    return {number: page.numbers.tolist() for number, page in enumerate(pages)}


def test_there_are_as_many_pages_as_rows_need() -> None:
    pages: Pages[Page] = Pages("numbers", Page, ROWS)

    sizes = []
    for rows in (0, 1, ROWS, ROWS + 1, 2, 3 * ROWS):
        pages.grow_to(rows)
        sizes.append(len(pages))

    assert sizes == [0, 1, 1, 2, 2, 3]


def test_growth_leaves_the_pages_that_are_there(pages: Pages[Page]) -> None:
    before = list(pages)

    pages.grow_to(100)

    assert all(page is pages[number] for number, page in enumerate(before))


def test_capture_of_nothing_is_empty() -> None:
    assert saved(Pages("numbers", Page, ROWS).capture()) == {}


def test_capture_is_the_state_of_its_moment_whatever_is_written_before_it_is_read(pages: Pages[Page]) -> None:
    write(pages, 5, 1)
    moment = now(pages)

    capture = pages.capture()
    for row in range(3 * ROWS):
        write(pages, row, 100 + row)
        write(pages, row, 200 + row)

    assert saved(capture) == moment


def test_capture_is_the_state_of_its_moment_whatever_is_written_while_it_is_read(pages: Pages[Page]) -> None:
    for row in range(3 * ROWS):
        write(pages, row, row)
    moment = now(pages)

    capture = pages.capture()
    found = []
    for step in range(3):
        found.append(next(capture))
        for row in range(3 * ROWS):
            write(pages, row, 1_000 * step + row)

    assert saved(iter(found)) == moment
    assert next(capture, None) is None


def test_copy_does_not_change_any_more(pages: Pages[Page]) -> None:
    capture = pages.capture()
    first = next(capture)

    write(pages, first.number * ROWS, 9)

    assert first.arrays["numbers"].tolist() == [0] * ROWS


def test_pages_that_were_added_or_put_in_place_of_others_after_its_moment_are_not_captured(pages: Pages[Page]) -> None:
    write(pages, 0, 7)
    moment = now(pages)

    capture = pages.capture()
    pages.grow_to(5 * ROWS)
    write(pages, 4 * ROWS, 3)
    other = Page()
    other.numbers[:] = 5
    pages.replace(0, other)

    assert saved(capture) == moment
    assert pages[0] is other


def test_page_that_is_not_written_to_is_not_copied_before_it_is_asked_for(pages: Pages[Page]) -> None:
    capture = pages.capture()
    pages[1].numbers[0] = 4

    assert saved(capture)[1][0] == 4


def test_capture_that_nobody_finishes_costs_at_most_one_copy_of_each_page(pages: Pages[Page]) -> None:
    capture = pages.capture()
    next(capture)
    del capture

    for row in range(3 * ROWS):
        write(pages, row, 1)

    assert saved(pages.capture()) == now(pages)


def test_second_capture_before_the_first_was_read_is_whole(pages: Pages[Page]) -> None:
    pages.capture()
    write(pages, 0, 1)

    second = pages.capture()
    moment = now(pages)
    write(pages, 0, 2)

    assert saved(second) == moment


@pytest.mark.parametrize("begun", [0, 1])
def test_second_capture_ends_the_first(pages: Pages[Page], begun: int) -> None:
    first = pages.capture()
    for _ in range(begun):
        next(first)
    write(pages, 2 * ROWS, 8)

    second = pages.capture()

    assert list(first) == []
    assert saved(second) == now(pages)


def test_restored_pages_stand_behind_each_other(pages: Pages[Page]) -> None:
    one, other = Page(), Page()

    pages.restore(one)
    pages.restore(other)

    assert (len(pages), pages[3], pages[4]) == (5, one, other)


def test_rows_are_told_apart_by_page_whatever_their_order() -> None:
    rows = np.array([2 * PAGE_ROWS, 3, PAGE_ROWS - 1, 2 * PAGE_ROWS + 7, 3])

    found = [(number, rows[mine].tolist(), places.tolist()) for number, mine, places in by_page(rows)]

    assert found == [
        (0, [3, PAGE_ROWS - 1, 3], [3, PAGE_ROWS - 1, 3]),
        (2, [2 * PAGE_ROWS, 2 * PAGE_ROWS + 7], [0, 7]),
    ]
    assert [number for number, _, _ in by_page(rows[:1])] == [2]
    assert list(by_page(rows[:0])) == []
