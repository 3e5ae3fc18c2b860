import pytest

from server.input.decision_index import NOBODY, DecisionIndex
from tests.support.clock import NOON_US

PER_PAGE = 4_096
TAG = (1 << 64) - 1


def test_decision_is_found_by_number_and_tag() -> None:
    index = DecisionIndex()
    index.add(1, TAG, NOON_US, row=5, household=2)
    index.add(2, 0, NOON_US, row=6)

    assert index.find(1, TAG) == (5, 2)
    assert index.find(2, 0) == (6, NOBODY)
    assert index.tag(1) == TAG


@pytest.mark.parametrize(("number", "tag"), [(1, 8), (0, 7), (2, 7), (PER_PAGE, 7), (-1, 7), (1 << 63, 7)])
def test_nobody_made_any_other_decision(number: int, tag: int) -> None:
    index = DecisionIndex()
    index.add(1, 7, NOON_US, row=5)

    assert index.find(number, tag) == (NOBODY, NOBODY)


@pytest.mark.parametrize("number", [0, 2, PER_PAGE, -1, 1 << 63])
def test_unknown_decision_has_no_tag(number: int) -> None:
    index = DecisionIndex()
    index.add(1, 7, NOON_US, row=5)

    assert index.tag(number) is None


def many(*times_us: int) -> DecisionIndex:
    """An index with a page of decisions of each of these times."""
    index = DecisionIndex()
    for page, time_us in enumerate(times_us):
        for place in (0, 1, PER_PAGE - 1):
            index.add(page * PER_PAGE + place, 7, time_us, row=page)
    return index


def test_pages_are_let_go_whose_decisions_are_all_old() -> None:
    index = many(NOON_US, NOON_US + 1, NOON_US + 2)

    index.retain(NOON_US + 1)

    assert index.find(1, 7) == (NOBODY, NOBODY)
    assert index.tag(1) is None
    assert index.find(PER_PAGE + 1, 7) == (1, NOBODY)


def test_last_page_stays_as_more_decisions_come() -> None:
    index = many(NOON_US, NOON_US)

    index.retain(NOON_US + 10)
    index.add(PER_PAGE + 9, 8, NOON_US, row=3)

    assert index.find(PER_PAGE + 1, 7) == (1, NOBODY)
    assert index.find(PER_PAGE + 9, 8) == (3, NOBODY)


def test_page_with_one_late_decision_stays_and_keeps_those_behind_it() -> None:
    index = many(NOON_US, NOON_US, NOON_US)
    index.add(5, 7, NOON_US + 99, row=9)

    index.retain(NOON_US + 50)

    assert index.find(1, 7) == (0, NOBODY)


def test_index_comes_back_with_what_was_let_go() -> None:
    index = many(NOON_US, NOON_US + 5, NOON_US + 9)
    index.retain(NOON_US + 1)

    again = DecisionIndex()
    again.restore([dict(page.arrays) for page in sorted(index.capture(), key=lambda page: page.number)])

    assert again.find(1, 7) == (NOBODY, NOBODY)
    assert again.find(PER_PAGE + 1, 7) == (1, NOBODY)
    again.retain(NOON_US + 6)
    assert again.find(PER_PAGE + 1, 7) == (NOBODY, NOBODY)
    again.add(3 * PER_PAGE, 1, NOON_US, row=8)
    assert again.find(3 * PER_PAGE, 1) == (8, NOBODY)
