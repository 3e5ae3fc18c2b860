"""`best` finds what sorting everything finds, ties and all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.intelligence.arbitration import best

keys = st.one_of(st.integers(-2, 2).map(float), st.floats(allow_nan=False), st.just(float("-inf")))
rows = st.lists(st.tuples(keys, st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))), max_size=40)


@given(rows, st.integers(0, 45))
def test_best_places_are_the_first_of_all_places_sorted(pairs: list[tuple[float, int]], count: int) -> None:
    found = best(
        np.array([key for key, _ in pairs], np.float64), np.array([hash_ for _, hash_ in pairs], np.uint64), count
    )

    by_brute_force = sorted(range(len(pairs)), key=lambda place: (-pairs[place][0], pairs[place][1], place))
    assert found.tolist() == by_brute_force[:count]
