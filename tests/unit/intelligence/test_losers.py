import numpy as np

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.losers import held_back
from tests.support.arbitration import contest, limit


def lost_by(contest: Contest, *rows: int) -> list[int]:
    return list(map(int, held_back(np.array(rows, np.intp), contest, arbitrate(contest))))


def test_a_row_below_the_last_winner_lost_by_its_key() -> None:
    assert lost_by(contest([4, 3, 2, 1], 2, limit([-1, -1, -1, -1], [])), 2, 3) == [-1, -1]


def test_a_row_below_the_last_winner_lost_by_its_key_even_if_its_group_had_won() -> None:
    assert lost_by(contest([3, 2, 1], 2, limit([0, -1, 0], [1])), 2) == [-1]


def test_a_row_that_was_passed_over_lost_by_the_limit() -> None:
    assert lost_by(contest([3, 2, 1], 2, limit([0, 0, -1], [1])), 1) == [0]


def test_a_row_that_ties_with_a_winner_and_goes_before_it_was_passed_over() -> None:
    passed = contest([3, 1, 1], 2, limit([0, 0, -1], [1]), ties=[0, 1, 2])
    after = contest([3, 1, 1], 2, limit([0, 0, -1], [1]), ties=[0, 2, 1])

    assert lost_by(passed, 1) == [0]
    assert lost_by(after, 1) == [-1]


def test_of_several_limits_it_is_the_first_that_had_no_room_when_the_row_had_its_turn() -> None:
    # When row 1 has its turn only the second limit is full; the first is filled by row 2 later.
    early, late = limit([-1, 0, 0, -1], [1]), limit([0, 0, -1, -1], [1])

    assert lost_by(contest([4, 3, 2, 1], 3, early, late), 1) == [1]


def test_a_row_that_could_have_had_an_empty_slot_lost_by_the_limit() -> None:
    assert lost_by(contest([3, 2, 1], 3, limit([0, 0, 0], [1])), 1, 2) == [0, 0]
    assert lost_by(contest([3, 2], 2, limit([0, 0], [0])), 0, 1) == [0, 0]


def test_a_row_that_pins_left_no_slot_lost_by_its_key() -> None:
    assert lost_by(contest([3, 2, 1], 2, pins=[(0, 2), (1, 1)]), 0) == [-1]


def test_a_row_may_lose_by_what_a_pinned_row_used_up() -> None:
    assert lost_by(contest([3, 2, 1], 2, limit([0, -1, 0], [1]), pins=[(1, 2)]), 0) == [0]


def test_a_row_without_a_number_lost_by_its_key() -> None:
    assert lost_by(contest([np.nan, 2], 2, limit([0, 0], [0])), 0, 1) == [-1, 0]


def test_winners_lost_by_nothing() -> None:
    assert lost_by(contest([3, 2, 1], 3, limit([0, 0, 0], [1]), pins=[(0, 2)]), 2) == [-1]


def test_the_answer_picks_reasons() -> None:
    limits = limit([0, 0, -1, -1], [1], reason=Reason.EXCLUSION_GROUP), limit([-1, -1, 0, -1], [0], reason=Reason.CAP)
    question = contest([4, 3, 2, 1], 2, *limits)
    reasons = np.append([limit.reason for limit in question.limits], Reason.LOST)

    held = held_back(np.array([1, 2]), question, arbitrate(question))

    assert reasons[held].tolist() == [Reason.EXCLUSION_GROUP, Reason.CAP]
