import pytest

from server.inference.cost import HALF_LIFE_NS, Cost

NOW = 5_000_000_000_000
US = 1_000


def measured() -> Cost:
    """15 us and 0.1 us for each row."""
    cost = Cost()
    cost.measure({1: 15_100, 64: 21_400, 1_024: 117_400})
    return cost


def test_measurement_gives_the_line_through_the_best_times() -> None:
    cost = measured()

    assert cost.measured
    assert [cost.estimate_ns(rows, NOW) for rows in (1, 64, 350, 1_024)] == pytest.approx(
        [15_200, 21_500, 50_100, 117_500], rel=0.01
    )


def test_no_measured_time_is_above_the_estimate() -> None:
    best_ns = {1: 10_000, 64: 60_000, 1_024: 200_000}
    cost = Cost()
    cost.measure(best_ns)

    assert all(cost.estimate_ns(rows, NOW) >= ns for rows, ns in best_ns.items())


def test_catalog_of_one_offer_can_be_measured() -> None:
    cost = Cost()
    cost.measure({1: 10_000})

    assert cost.estimate_ns(1, NOW) >= 10_000


@pytest.mark.parametrize("ns", [0, 10 * US, 16 * US, 50 * US, 117 * US, 5_000 * US])
def test_rows_within_a_time_are_the_most_that_the_estimate_allows(ns: int) -> None:
    cost = measured()
    cost.observe(100, 60 * US, NOW)

    rows = cost.rows_within(ns, NOW)

    assert rows == 0 or cost.estimate_ns(rows, NOW) <= ns
    assert cost.estimate_ns(rows + 1, NOW) > ns


def test_estimate_is_above_most_of_what_was_seen() -> None:
    cost = measured()
    times = [50 * US, 55 * US, 52 * US, 70 * US, 51 * US, 58 * US, 66 * US, 53 * US] * 20

    for place, ns in enumerate(times):
        cost.observe(350, ns, NOW + place)

    estimate = cost.estimate_ns(350, NOW + len(times))
    assert sum(ns <= estimate for ns in times) >= 0.9 * len(times)
    assert estimate < 1.5 * max(times)


def test_model_that_becomes_slower_is_known_to_be_after_a_few_runs() -> None:
    cost = measured()

    for run in range(5):
        cost.observe(350, 20_000 * US, NOW + run)

    assert cost.estimate_ns(350, NOW + 5) >= 20_000 * US


def test_one_hiccup_is_not_taken_at_its_word() -> None:
    cost = measured()

    cost.observe(350, 100_000 * US, NOW)

    assert 50 * US < cost.estimate_ns(350, NOW) < 1_000 * US


def test_model_that_becomes_fast_again_is_known_to_be_after_some_dozen_runs() -> None:
    cost = measured()
    for run in range(50):
        cost.observe(350, 20_000 * US, NOW + run)

    for run in range(60):
        cost.observe(350, 50 * US, NOW + 50 + run)

    assert cost.estimate_ns(350, NOW + 110) < 150 * US


def test_faster_run_never_raises_the_estimate() -> None:
    cost = measured()
    for run in range(20):
        cost.observe(350, 20_000 * US, NOW + run)
    before = cost.estimate_ns(350, NOW + 20)

    cost.observe(350, 50 * US, NOW + 20)

    assert cost.estimate_ns(350, NOW + 20) < before


def test_cut_off_doubles_what_is_known_and_never_lowers_it() -> None:
    cost = measured()

    cost.cut_off(350, 20_000 * US, NOW)
    once = cost.estimate_ns(350, NOW)
    cost.cut_off(350, 1_000 * US, NOW)

    assert once == pytest.approx(40_000 * US, rel=0.001)
    assert cost.estimate_ns(350, NOW) == once


def test_load_is_forgotten_while_nobody_asks_the_model() -> None:
    cost = measured()
    cost.cut_off(350, 20_000 * US, NOW)

    waited = [cost.estimate_ns(350, NOW + halves * HALF_LIFE_NS) for halves in (0, 2, 4, 100)]

    assert waited == pytest.approx([40_000 * US, 10_037 * US, 2_547 * US, 50 * US], rel=0.01)


def test_run_after_a_while_starts_from_what_is_left_of_the_load() -> None:
    cost = measured()
    cost.cut_off(350, 20_000 * US, NOW)
    later = NOW + 20 * HALF_LIFE_NS

    cost.observe(350, 50 * US, later)

    assert cost.estimate_ns(350, later) == pytest.approx(50 * US, rel=0.05)


def test_without_a_measurement_there_is_an_assumption_that_runs_correct() -> None:
    cost = Cost()
    assumed = cost.estimate_ns(100, NOW)

    for run in range(50):
        cost.observe(100, 30 * US, NOW + run)

    assert not cost.measured
    assert assumed > 100 * US
    assert cost.estimate_ns(100, NOW + 50) == pytest.approx(30 * US, rel=0.1)
