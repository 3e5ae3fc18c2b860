import numpy as np
import pytest

from server.intelligence.arbitration import best


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
