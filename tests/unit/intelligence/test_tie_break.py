from hashlib import blake2b

import numpy as np
import pytest
from numpy.typing import NDArray

from server.intelligence.tie_break import multipliers, tie_breaks


def hashes(names: list[str]) -> NDArray[np.uint64]:
    """What `OfferTable.tie_break` says of these ids."""
    digests = [blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)


def order(names: list[str], seed: int) -> list[str]:
    return [names[place] for place in tie_breaks(hashes(names), seed).argsort()]


def test_no_seed_leaves_the_order_of_the_hashes() -> None:
    base = hashes(["a", "b", "c"])

    assert tie_breaks(base, 0).tolist() == base.tolist()


@pytest.mark.parametrize("seed", [1, 12345, 2**63, 2**64 - 1])
def test_a_seed_orders_the_same_way_whatever_the_order_of_the_file(seed: int) -> None:
    names = [f"offer-{number}" for number in range(50)]

    assert order(names, seed) == order(names[::-1], seed) == order(sorted(names), seed)


def test_every_seed_orders_differently() -> None:
    names = [f"offer-{number}" for number in range(10)]

    assert len({tuple(order(names, seed)) for seed in range(1000)}) == 1000


def test_seeds_count_to_64_bits() -> None:
    base = hashes(["a", "b", "c"])

    assert tie_breaks(base, -1).tolist() == tie_breaks(base, 2**64 - 1).tolist()
    assert tie_breaks(base, 2**64 + 7).tolist() == tie_breaks(base, 7).tolist()


def test_rows_of_different_hashes_never_tie() -> None:
    base = np.arange(1000, dtype=np.uint64) << np.uint64(54)

    assert len(np.unique(tie_breaks(base, 99))) == 1000


@pytest.mark.parametrize("offers", [2, 3, 10, 100])
@pytest.mark.parametrize("step", [1, 2**20, 2**40])
def test_every_offer_comes_first_about_as_often_as_any_other(offers: int, step: int) -> None:
    base = hashes([f"coupon-{number}" for number in range(offers)])
    times = 100 * offers

    firsts = [int(tie_breaks(base, seed).argmin()) for seed in range(step, step * (times + 1), step)]

    # Chi-square with offers - 1 degrees of freedom; six standard deviations above its mean. The seeds are fixed.
    count = np.bincount(firsts, minlength=offers)
    degrees = offers - 1
    assert ((count - 100) ** 2 / 100).sum() < degrees + 6 * np.sqrt(2 * degrees)


def test_who_comes_second_does_not_follow_from_who_comes_first() -> None:
    base = hashes(["a", "b", "c", "d"])

    orders = [tuple(tie_breaks(base, seed).argsort().tolist()) for seed in range(1, 2401)]

    count = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(count) == 24
    assert ((count - 100) ** 2 / 100).sum() < 23 + 6 * np.sqrt(2 * 23)


def test_many_seeds_multiply_as_each_of_them_does() -> None:
    base = hashes(["a", "b", "c"])
    seeds = [0, 1, 12345, 2**31, 2**63, 2**64 - 1]

    found = multipliers(np.array(seeds, np.uint64))[:, None] * base

    assert found.tolist() == [tie_breaks(base, seed).tolist() for seed in seeds]
