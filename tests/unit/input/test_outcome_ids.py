from typing import Any

from server.input.outcome_ids import HALF_US, OutcomeIds

START_US = 700 * HALF_US


def test_second_report_of_an_outcome_is_known() -> None:
    ids = OutcomeIds()

    assert ids.add("o1", START_US)
    assert not ids.add("o1", START_US + 5)
    assert ids.add("o2", START_US + 5)


def test_ids_are_known_for_at_least_one_half_and_at_most_two() -> None:
    ids = OutcomeIds()
    ids.add("first", START_US)
    ids.add("last", START_US + HALF_US - 1)

    assert not ids.add("first", START_US + 2 * HALF_US - 1)
    assert not ids.add("last", START_US + 2 * HALF_US - 1)
    assert ids.add("first", START_US + 2 * HALF_US)


def test_ids_are_forgotten_by_halves() -> None:
    ids = OutcomeIds()
    ids.add("old", START_US)
    ids.add("new", START_US + HALF_US)

    ids.add("other", START_US + 2 * HALF_US)

    assert not ids.add("new", START_US + 2 * HALF_US)
    assert ids.add("old", START_US + 2 * HALF_US)


def test_nothing_is_known_after_a_long_silence() -> None:
    for periods in (3, 4, 5):
        ids = OutcomeIds()
        ids.add("even", START_US)
        ids.add("odd", START_US + HALF_US)

        assert ids.add("even", START_US + periods * HALF_US)
        assert ids.add("odd", START_US + periods * HALF_US)
        assert sum(ids.ends) == 2


def test_time_that_goes_back_forgets_nothing() -> None:
    ids = OutcomeIds()
    ids.add("o1", START_US + HALF_US)

    assert not ids.add("o1", START_US)
    assert ids.period == 701


def test_ids_come_back_as_of_the_capture() -> None:
    ids = OutcomeIds()
    ids.add("old", START_US)
    ids.add("new", START_US + HALF_US)
    capture, period, ends = ids.capture(), ids.period, ids.ends
    ids.add("later", START_US + 2 * HALF_US)

    pages: dict[str, list[Any]] = {}
    for page in capture:
        pages.setdefault(page.name, []).append(dict(page.arrays))
    again = OutcomeIds()
    again.restore(pages, period, ends)

    assert again.add("later", START_US + HALF_US)
    assert not again.add("old", START_US + HALF_US)
    assert not again.add("new", START_US + 2 * HALF_US)
    assert again.add("old", START_US + 2 * HALF_US)
