import numpy as np
import pytest

from server.domain.model import Calibration, CalibrationLine, OutputKind
from server.inference.calibration import propensities


def probabilities(output: list[float], kind: OutputKind, slope: float = 1.0, intercept: float = 0.0) -> list[float]:
    raw = np.array(output, np.float32)
    return [float(value) for value in propensities(raw, kind, np.float64(slope), np.float64(intercept))]


def test_log_odds_become_probabilities() -> None:
    assert probabilities([0.0, np.log(3.0)], OutputKind.LOG_ODDS) == pytest.approx([0.5, 0.75])


def test_probabilities_stay_what_they_are_without_calibration() -> None:
    assert probabilities([0.01, 0.5, 0.99], OutputKind.PROBABILITY) == pytest.approx([0.01, 0.5, 0.99], abs=1e-7)


def test_line_is_applied_to_the_log_odds() -> None:
    expected = 1 / (1 + np.exp(-(2.0 * 1.5 - 1.0)))

    assert probabilities([1.5], OutputKind.LOG_ODDS, 2.0, -1.0) == pytest.approx([expected])
    as_probability = float(1 / (1 + np.exp(-1.5)))
    assert probabilities([as_probability], OutputKind.PROBABILITY, 2.0, -1.0) == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize("output", [[0.0, 1.0], [-0.5, 1.5]])
def test_certain_probabilities_stay_strictly_inside_the_bounds(output: list[float]) -> None:
    low, high = probabilities(output, OutputKind.PROBABILITY)

    assert 0 < low < 1e-6
    assert 1 - 1e-6 < high < 1


def test_extreme_log_odds_neither_overflow_nor_leave_the_bounds() -> None:
    assert probabilities([-1e30, 1e30, -800.0, 800.0], OutputKind.LOG_ODDS) == pytest.approx([0, 1, 0, 1])


def test_order_is_kept_by_a_rising_line() -> None:
    found = probabilities([-3.0, -1.0, 0.0, 2.0], OutputKind.LOG_ODDS, 0.7, -2.0)

    assert found == sorted(found)


def test_each_row_has_the_line_of_its_group() -> None:
    calibration = Calibration(CalibrationLine(1.0, 0.5), "offer.kind", {"A": CalibrationLine(2.0, -1.0)})

    slopes, intercepts = calibration.lines(["A", "unheard of", None])

    assert slopes.tolist() == [2.0, 1.0, 1.0]
    assert intercepts.tolist() == [-1.0, 0.5, 0.5]
