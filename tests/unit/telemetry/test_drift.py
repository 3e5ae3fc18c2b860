import math

import numpy as np
import pytest

from server.domain.model import ScoreReference
from server.telemetry.drift import FEWEST, WINDOW, Drift

QUARTERS = ScoreReference((0.25, 0.5, 0.75), (0.25, 0.25, 0.25, 0.25))


def uniform(count: int = 10_000, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).random(count)


def test_scores_as_in_training_have_an_index_of_next_to_nothing() -> None:
    drift = Drift(QUARTERS)
    drift.observe(uniform())

    psi = drift.psi()

    assert psi is not None
    assert 0 <= psi < 0.01


def test_index_is_the_sum_of_the_formula() -> None:
    drift = Drift(QUARTERS)
    drift.observe(np.repeat([0.1, 0.3, 0.6, 0.9], [400, 300, 200, 100]))

    expected = sum((a - 0.25) * math.log(a / 0.25) for a in (0.4, 0.3, 0.2, 0.1))
    assert drift.psi() == pytest.approx(expected)


def test_score_on_an_edge_belongs_to_the_bin_above() -> None:
    drift = Drift(ScoreReference((0.5,), (0.2, 0.8)))
    drift.observe(np.repeat([0.4999, 0.5], [200, 800]))

    assert drift.psi() == pytest.approx(0.0)


def test_bin_that_nothing_falls_into_keeps_the_index_finite() -> None:
    drift = Drift(QUARTERS)
    drift.observe(np.full(2_000, 0.9))

    psi = drift.psi()

    assert psi is not None
    assert 1 < psi < 20


def test_few_scores_have_no_index() -> None:
    drift = Drift(QUARTERS)
    drift.observe(uniform(FEWEST - 1))
    too_few = drift.psi()
    drift.observe(uniform(1))

    assert too_few is None
    assert drift.psi() is not None
    assert drift.seen == FEWEST


def test_what_was_long_ago_is_forgotten() -> None:
    drift = Drift(QUARTERS)
    for _ in range(20):
        drift.observe(np.full(WINDOW // 10, 0.9))
    drifted = drift.psi()
    for seed in range(100):
        drift.observe(uniform(WINDOW // 10, seed))

    recovered = drift.psi()
    assert drifted is not None and recovered is not None
    assert drifted > 1
    assert recovered < 0.02
