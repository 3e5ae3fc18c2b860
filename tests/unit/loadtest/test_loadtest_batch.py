"""The scenario `batch`: its model, and the whole of it against a real server, small."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadtest import batch as scenario
from loadtest import logistic
from loadtest.batch import BatchOptions, batch
from loadtest.serving import ServerFailedError
from loadtest.writing_report import batch_table
from server.inference.model import load_models


def test_server_takes_the_logistic_model_and_scores_as_it_is_meant(tmp_path: Path) -> None:
    logistic.write(tmp_path, 7)
    features = logistic.pairs(500, 8)
    features[3, :40] = np.nan

    output = load_models(tmp_path)[logistic.MODEL].run({"features": features})

    np.testing.assert_allclose(output, logistic.Logistic.seeded(7).forward(features), atol=2e-5)
    assert -5.6 < float(output.mean()) < -3.6
    assert 0.5 < float(output.std()) < 2.0


def test_every_customer_is_ranked_and_no_process_is_left(left_behind: Callable[[], set[int]]) -> None:
    figures = batch(BatchOptions(offers=30, profiles=1_500))

    assert (figures["scenario"], figures["customers"], figures["offers"]) == ("batch", 1_500, 30)
    assert (figures["offered"], figures["model_failed_for"], figures["model"]) == (1_500, 0, logistic.MODEL)
    assert 1_500 <= int(str(figures["rows"])) <= 15_000
    seconds, ranking = float(str(figures["seconds"])), float(str(figures["ranking_seconds"]))
    assert 0 < ranking < seconds
    assert figures["customers_per_second"] == 1_500 / seconds
    assert 0 < int(str(figures["rss_read_mib"])) <= int(str(figures["rss_mib"])) < 2_000
    assert set(figures) >= {"steal_percent", "others_percent", "filesystem", "started", "machine", "cpu_seconds"}
    assert "1,500 customers, 30 offers" in batch_table(figures)
    assert not left_behind()


def test_command_that_fails_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "PLACEMENT", "nowhere")

    with pytest.raises(ServerFailedError, match="rank-all ended, exit 1"):
        batch(BatchOptions(offers=5, profiles=10))
