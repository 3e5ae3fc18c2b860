"""How long a publisher waits between attempts."""

import random

from hypothesis import given
from hypothesis import strategies as st
from opportune.client import Backoff


@given(
    base_s=st.floats(0.001, 10),
    cap_s=st.floats(0.001, 100),
    attempt=st.integers(0, 10_000),
    at_least_s=st.floats(0, 1_000),
    seed=st.integers(),
)
def test_wait_is_between_what_the_server_asks_and_the_ceiling_above(
    base_s: float, cap_s: float, attempt: int, at_least_s: float, seed: int
) -> None:
    backoff = Backoff(base_s, cap_s, random.Random(seed).random)

    delay_s = backoff.delay_s(attempt, at_least_s)

    assert at_least_s <= delay_s <= at_least_s + min(cap_s, base_s * 2 ** min(attempt, 64))


def test_jitter_is_full_and_the_ceiling_doubles_up_to_the_cap() -> None:
    lowest, highest = Backoff(random=lambda: 0.0), Backoff(base_s=0.1, cap_s=1.0, random=lambda: 1.0)

    assert [lowest.delay_s(attempt) for attempt in range(5)] == [0.0] * 5
    assert [highest.delay_s(attempt) for attempt in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_waits_of_many_clients_spread_over_the_whole_ceiling() -> None:
    backoff = Backoff(base_s=1.0, cap_s=1.0, random=random.Random(1).random)

    delays_s = [backoff.delay_s(0) for _ in range(10_000)]

    tenths = [sum(tenth / 10 <= delay_s < (tenth + 1) / 10 for delay_s in delays_s) for tenth in range(10)]
    assert min(tenths) > 900
    assert max(tenths) < 1_100
