import numpy as np
import pytest

from server.intelligence.arbitration import Contest, arbitrate, best
from tests.support.arbitration import contest, limit


def winners(keys: list[float], count: int, tie_break: list[int] | None = None) -> list[int]:
    hashes = list(range(len(keys))) if tie_break is None else tie_break
    return [int(place) for place in best(np.array(keys, np.float64), np.array(hashes, np.uint64), count)]


def test_largest_keys_come_first() -> None:
    assert winners([1, 3, 2], 3) == [1, 2, 0]
    assert winners([1, 3, 2], 2) == [1, 2]


def test_asking_for_more_than_there_is_gives_all() -> None:
    assert winners([1, 3], 5) == [1, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_gives_nothing(count: int) -> None:
    assert winners([], count) == []


def test_asking_for_nothing_gives_nothing() -> None:
    assert winners([1, 2], 0) == []


def test_ties_go_to_the_smaller_hash() -> None:
    assert winners([1, 1, 1], 3, [30, 10, 20]) == [1, 2, 0]


def test_every_row_that_ties_with_the_last_place_takes_part_in_the_tie_break() -> None:
    assert winners([5, 1, 1, 1, 0], 2, [0, 30, 20, 10, 0]) == [0, 3]


def test_hashes_are_compared_as_unsigned() -> None:
    assert winners([1, 1], 1, [2**63 + 1, 5]) == [1]


def test_missing_keys_come_last() -> None:
    assert winners([-np.inf, 1, -np.inf, 2], 4) == [3, 1, 0, 2]


def test_zero_and_minus_zero_tie() -> None:
    assert winners([0.0, -0.0], 1, [2, 1]) == [1]


def test_rows_without_a_number_are_left_out() -> None:
    assert winners([np.nan, 1, np.nan, 2], 3) == [3, 1]
    assert winners([np.nan, 1, np.nan, 2], 4) == [3, 1]
    assert winners([np.nan, 1, 3, 2], 2) == [2, 3]


def test_many_ties_with_the_last_place_are_partitioned_by_their_hashes() -> None:
    assert winners([5, *[1] * 500, 0], 3, [0, *range(500, 0, -1), 0]) == [0, 500, 499]


def won(contest: Contest) -> list[int]:
    return list(map(int, arbitrate(contest).winners))


def test_without_limits_the_largest_keys_win() -> None:
    assert won(contest([1, 3, 2], 2)) == [1, 2]


def test_one_of_each_exclusion_group_wins() -> None:
    groups = limit([0, 0, 1, -1, -1], [1, 1])

    assert won(contest([5, 4, 3, 2, 1], 4, groups)) == [0, 2, 3, 4]


def test_a_row_must_have_room_in_every_limit() -> None:
    groups, categories = limit([0, 0, 1, 1], [1, 1]), limit([0, 1, 0, 1], [1, 1])

    assert won(contest([4, 3, 2, 1], 4, groups, categories)) == [0, 3]


def test_a_row_that_lost_by_one_limit_uses_up_nothing_of_another() -> None:
    categories, groups = limit([-1, 0, 0], [1]), limit([0, 0, -1], [1])

    assert won(contest([3, 2, 1], 3, categories, groups)) == [0, 2]


def test_amounts_are_taken_from_the_room_until_it_is_too_small() -> None:
    budget = limit([0, 0, 0, 0], [1.0], amounts=[0.5, 0.75, 0.5, 0.25])

    assert won(contest([4, 3, 2, 1], 4, budget)) == [0, 2]


def test_what_costs_nothing_wins_though_nothing_is_left() -> None:
    assert won(contest([2, 1], 2, limit([0, 0], [1.0], amounts=[1.0, 0.0]))) == [0, 1]


def test_a_row_that_is_not_bound_wins_without_room_but_uses_it_up() -> None:
    cap = limit([0, 0, 0, 0], [2], bound=[True, False, False, True])

    assert won(contest([4, 3, 2, 1], 4, cap)) == [0, 1, 2]


def test_room_that_was_overdrawn_is_no_room_even_for_what_costs_nothing() -> None:
    budget = limit([0, 0], [1.0], amounts=[2.0, 0.0], bound=[False, True])

    assert won(contest([2, 1], 2, budget)) == [0]


@pytest.mark.parametrize("hole", ["room", "amount"])
def test_a_number_that_is_missing_is_no_room(hole: str) -> None:
    room, amount = (np.nan, 1.0) if hole == "room" else (1.0, np.nan)

    assert won(contest([2, 1], 2, limit([0, -1], [room], amounts=[amount, amount]))) == [1]


def test_a_limit_that_no_row_counts_towards_may_be_empty() -> None:
    assert won(contest([1, 2], 2, limit([-1, -1], []))) == [1, 0]


def test_limits_that_hold_back_all_of_the_best_rows_let_the_rows_below_win() -> None:
    below = [-1] * 400
    groups = limit([0] * 300 + [1] * 300 + below, [1, 1])

    assert won(contest(range(1000, 0, -1), 4, groups)) == [0, 300, 600, 601]


def test_rows_below_are_looked_at_only_until_nothing_is_left() -> None:
    assert won(contest(range(1000, 0, -1), 4, limit([0] * 1000, [2]))) == [0, 1]
    assert won(contest(range(1000, 0, -1), 4, limit([0] * 1000, [0]))) == []


def test_a_pinned_row_takes_its_slot_and_the_others_go_around_it() -> None:
    assert won(contest([5, 4, 3, 2, 1], 4, pins=[(1, 4)])) == [0, 4, 1, 2]


def test_pinned_rows_come_before_all_others_where_limits_are_concerned() -> None:
    assert won(contest([3, 2, 1], 2, limit([0, -1, 0], [1]), pins=[(1, 2)])) == [1, 2]


def test_pins_are_served_in_the_order_of_their_slots() -> None:
    assert won(contest([3, 2, 1], 3, limit([-1, 0, 0], [1]), pins=[(1, 1), (0, 2)])) == [2, 0]


@pytest.mark.parametrize("pins", [[(0, 1), (0, 2)], [(0, 2), (0, 1)]])
def test_of_two_pins_for_a_slot_the_larger_key_has_it(pins: list[tuple[int, int]]) -> None:
    assert won(contest([3, 1, 2], 2, pins=pins)) == [2, 0]


def test_of_two_pins_for_a_slot_that_tie_the_smaller_hash_has_it() -> None:
    assert won(contest([3, 1, 1], 2, pins=[(0, 1), (0, 2)], ties=[0, 2, 1])) == [2, 0]


def test_of_two_pins_for_a_slot_the_one_that_fits_has_it() -> None:
    assert won(contest([3, 2, 1], 2, limit([-1, 0, -1], [0]), pins=[(0, 1), (0, 2)])) == [2, 0]


def test_a_row_is_pinned_once() -> None:
    assert won(contest([3, 2, 1], 3, pins=[(0, 2), (1, 2)])) == [2, 0, 1]


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_pin_for_a_slot_that_does_not_exist_is_ignored(slot: int) -> None:
    assert won(contest([3, 2, 1], 2, pins=[(slot, 2)])) == [0, 1]


def test_a_pinned_row_without_a_number_is_left_out() -> None:
    assert won(contest([3, 2, np.nan], 2, pins=[(0, 2)])) == [0, 1]


def test_pinned_rows_move_up_when_slots_stay_empty() -> None:
    assert won(contest([4, 3, 2, 1], 4, limit([0, 0, -1, -1], [0]), pins=[(1, 2), (3, 3)])) == [2, 3]


def test_when_every_slot_is_pinned_nobody_else_wins() -> None:
    assert won(contest([3, 2, 1], 2, pins=[(0, 2), (1, 1)])) == [2, 1]


def test_no_slots_are_no_winners() -> None:
    assert won(contest([3, 2], 0)) == []
    assert won(contest([3, 2], 0, limit([0, 0], [1]), pins=[(0, 1)])) == []


def test_nothing_to_choose_from_is_no_winners() -> None:
    assert won(contest([], 3, limit([], [1]))) == []


def test_the_best_losers_are_handed_out_with_the_winners() -> None:
    alone = arbitrate(contest(range(200, 0, -1), 10))
    limited = arbitrate(contest(range(200, 0, -1), 10, limit([0] * 20 + [-1] * 180, [1])))

    assert alone.order.tolist() == list(range(64))
    assert limited.order.tolist() == list(range(64))


def test_rows_that_limits_hold_back_for_good_are_not_looked_at_again() -> None:
    found = arbitrate(contest(range(200, 0, -1), 2, limit([0] * 190 + [-1] * 10, [1])))

    assert found.winners.tolist() == [0, 190]
    assert found.order.tolist() == [*range(64), *range(190, 200)]


def test_the_seed_decides_among_equals() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**64, 300, np.uint64).tolist()

    firsts = {tuple(won(contest([1] * 300, 3, ties=hashes, seed=seed))) for seed in range(20)}

    assert len(firsts) == 20
