"""What manifests say of how scores were spread in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_artifacts.complete_journey import evaluate, manifest, scores

SHIPPED = sorted(evaluate.MODELS.glob("coupon-*/*/manifest.toml"))


def test_bins_have_equal_shares_and_their_edges_rise() -> None:
    spread = scores.spread(np.random.default_rng(1).beta(1, 300, 50_000))

    assert len(spread.edges) == 9
    assert list(spread.edges) == sorted(set(spread.edges))
    assert spread.shares == pytest.approx([0.1] * 10, abs=0.005)
    assert sum(spread.shares) == pytest.approx(1.0, abs=1e-4)


def test_scores_that_are_all_the_same_have_two_bins_one_of_them_empty() -> None:
    spread = scores.spread(np.full(100, 0.25))

    assert (spread.edges, spread.shares) == ((0.25,), (0.0, 1.0))


def test_shares_are_those_of_the_rounded_edges() -> None:
    propensities = np.random.default_rng(1).random(1_000)

    spread = scores.spread(propensities)

    assert spread.shares[0] == np.mean(propensities < spread.edges[0])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_shipped_models_say_how_their_scores_were_spread(path: Path) -> None:
    table = manifest.read(path)["scores"]

    assert len(table["shares"]) == len(table["edges"]) + 1 == 10
    assert table["shares"] == pytest.approx([0.1] * 10, abs=0.01)
