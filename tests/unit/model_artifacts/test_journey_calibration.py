from __future__ import annotations

import numpy as np
import pytest

from model_artifacts.complete_journey import calibration, metrics, observation
from model_artifacts.complete_journey.calibration import Calibration, Line
from tests.unit.model_artifacts import journey


def _drawn(size: int = 20_000) -> tuple[metrics.Floats, metrics.Labels]:
    random = np.random.default_rng(3)
    log_odds = random.normal(-3.0, 1.0, size)
    labels = (random.random(size) < 1 / (1 + np.exp(-(0.8 * log_odds - 0.5)))).astype(np.int8)
    return log_odds, labels


def test_line_is_the_logistic_of_slope_and_intercept() -> None:
    found = Line(slope=2.0, intercept=-1.0).propensities(np.array([0.0, 0.5, -800.0, 800.0]))

    assert found == pytest.approx([1 / (1 + np.e), 0.5, 0.0, 1.0])


def test_fitted_line_finds_what_was_drawn() -> None:
    log_odds, labels = _drawn()

    line = calibration.fit_line(log_odds, labels)

    assert line.slope == pytest.approx(0.8, abs=0.06)
    assert line.intercept == pytest.approx(-0.5, abs=0.15)
    assert line.propensities(log_odds).sum() == pytest.approx(labels.sum(), rel=1e-6)


def test_weighted_positives_count_more() -> None:
    log_odds, labels = _drawn()

    line = calibration.fit_line(log_odds, labels, np.where(labels == 1, 2.0, 1.0))

    assert line.propensities(log_odds).sum() > 1.5 * labels.sum()


def test_group_without_a_line_takes_the_default() -> None:
    stated = Calibration(Line(), {"A": Line(intercept=1.0)}, "nothing")

    found = stated.propensities(np.zeros(2), np.array(["A", "Z"]))

    assert found == pytest.approx([1 / (1 + np.exp(-1)), 0.5])


def test_calibration_without_positives_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one positive"):
        calibration.fit_line(np.zeros(3), np.zeros(3, dtype=np.int8))


def test_cross_fitting_leaves_out_the_own_household() -> None:
    log_odds, labels = _drawn(2_000)
    households = np.arange(2_000) % 200
    types = np.full(2_000, "A")
    flipped = np.where(households == 7, 1 - labels, labels).astype(np.int8)
    pools = {"A": ("A",)}

    first = calibration.cross_fitted(log_odds, labels, types, households, pools=pools)
    second = calibration.cross_fitted(log_odds, flipped, types, households, pools=pools)

    assert (first[households == 7] == second[households == 7]).all()


def test_summary_counts_and_compares() -> None:
    figures = metrics.summary(np.array([0, 1, 0, 0], dtype=np.int8), np.array([0.1, 0.8, 0.2, 0.1]))

    assert (figures["pairs"], figures["positives"], figures["auc"]) == (4, 1, 1.0)
    assert figures["observed_over_expected"] == pytest.approx(1 / 1.2)


def test_summary_of_pairs_without_positives_has_no_ranking() -> None:
    figures = metrics.summary(np.zeros(3, dtype=np.int8), np.full(3, 0.1))

    assert figures["auc"] is None
    assert figures["observed_over_expected"] == 0.0


def test_ended_campaigns_are_seen_whole_and_running_ones_in_part() -> None:
    shares = observation.shares(journey.grocer())

    assert shares[1] == shares[2] == 1.0
    assert 0.5 < shares[3] < 1.0
