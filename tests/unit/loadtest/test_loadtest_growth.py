"""The arithmetic of the scenario `soak`."""

import pytest

from loadtest.soak import Reading, growth, soak_table


def readings(slope_mib: float, warm_up_mib: float = 100.0) -> list[Reading]:
    """Twenty rounds of 10,000 calls, after a warm-up in which caches fill."""
    return [
        Reading(
            number * 10_000,
            number * 1_000,
            200.0 + min(number, 5) * warm_up_mib / 5 + slope_mib * number / 10,
            30 + (number > 12) + (number % 3),
            9,
            3 + (number > 12),
            5.0,
        )
        for number in range(1, 21)
    ]


@pytest.mark.parametrize("slope_mib", [0.0, 0.5, 3.0])
def test_slope_is_what_memory_grows_by_after_the_warm_up(slope_mib: float) -> None:
    found = growth(readings(slope_mib))

    assert found["rss_slope_mib_per_100k_calls"] == pytest.approx(slope_mib, abs=0.01)


def test_descriptors_threads_and_tasks_that_are_not_given_back_are_growth() -> None:
    found = growth(readings(0.0))

    assert (found["descriptor_growth"], found["thread_growth"], found["task_growth"]) == (1, 0, 1)
    assert found["offers_mean"] == 5.0
    assert (found["calls"], found["streams_cancelled"]) == (200_000, 20_000)


def test_table_says_what_grew() -> None:
    table = soak_table({"candidates": 10, "transport": "native", **growth(readings(0.5))})

    assert "0.50" in table
    assert "200,000" in table
