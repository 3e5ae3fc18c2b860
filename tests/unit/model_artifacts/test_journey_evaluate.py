"""Which redemptions count when a model is measured, and what a measurement says."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from model_artifacts.complete_journey import artifact, calibration, dataset, evaluate, manifest, samples
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.logistic import Logistic
from tests.unit.model_artifacts import journey


@pytest.fixture(autouse=True)
def _small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(until: date) -> Dataset:
        return journey.grocer().before(until)

    monkeypatch.setattr(dataset, "load", load)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    sample = samples.build(journey.grocer(), [1, 2, 3], lambda line: None)
    model = Logistic.fit(sample.features, sample.labels, np.ones(len(sample.labels)), samples.FEATURES)
    training = manifest.Training(date(2017, 3, 1), date(2017, 10, 30), date(2017, 10, 30), 12, 4)
    release = artifact.Release("coupon-test", "1", "", model, calibration.NONE, training, "")
    artifact.write(tmp_path, release, sample, lambda line: None)
    return tmp_path


def test_campaigns_of_the_training_time_count_redemptions_until_its_end(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "TRAINING_UNTIL", date(2017, 6, 25))

    figures = evaluate.evaluate(models / "coupon-test" / "1", [1, 2])

    assert (figures["pairs"], figures["positives"]) == (8, 2)
    assert figures["by_type"]["A"]["positives"] == 1


def test_later_campaigns_count_every_redemption(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "TRAINING_UNTIL", date(2017, 6, 25))

    figures = evaluate.evaluate(models / "coupon-test" / "1", [2, 3])

    assert (figures["pairs"], figures["positives"]) == (10, 2)
    assert figures["by_type"]["B+C"]["positives"] == 1


def test_horizon_can_be_given(models: Path) -> None:
    figures = evaluate.evaluate(models / "coupon-test" / "1", [2], until=date(2017, 6, 10))

    assert (figures["pairs"], figures["positives"], figures["auc"]) == (6, 0, None)


def test_measurement_is_printed_and_written(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "figures.json"

    evaluate.main("coupon-test/1", "1-2", target, models)

    written = json.loads(target.read_text())
    assert written["campaigns"] == [1, 2]
    assert {"pairs", "positives", "auc", "pr_auc", "log_loss", "observed_over_expected"} <= written.keys()
    assert "coupon-test/1 on campaigns 1-2" in capsys.readouterr().out


def test_unknown_campaign_is_an_error(models: Path) -> None:
    with pytest.raises(KeyError):
        evaluate.evaluate(models / "coupon-test" / "1", [99])
