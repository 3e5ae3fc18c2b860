"""The graphs that are shipped answer as the models they were made from, whatever is missing."""

from __future__ import annotations

import hashlib
import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")

from model_artifacts.complete_journey import artifact, boosted, calibration, evaluate, logistic, manifest
from model_artifacts.complete_journey.boosted import Boosted, float32_below
from model_artifacts.complete_journey.logistic import NOMINAL, Logistic
from model_artifacts.complete_journey.samples import FEATURES, Sample, joined

Matrix = NDArray[np.float32]
SHIPPED = sorted(path.parent for path in evaluate.MODELS.glob("coupon-*/*/manifest.toml"))


def _sample(size: int = 3_000) -> Sample:
    """Numbers with ties, zeros and gaps; what is in column 0 decides the label."""
    random = np.random.default_rng(11)
    features = np.round(random.normal(0.0, 30.0, (size, len(FEATURES))), 1).astype(np.float32)
    features[random.random(features.shape) < 0.2] = np.nan
    features[:, 1] = np.abs(np.nan_to_num(features[:, 1]))  # a column in which nothing is missing
    features[:, FEATURES.index(NOMINAL)] = random.integers(0, 3, size)
    labels = (np.nan_to_num(features[:, 0]) + random.normal(0.0, 20.0, size) > 40.0).astype(np.int8)
    types = np.array(["A", "B", "C"])[features[:, FEATURES.index(NOMINAL)].astype(int)]
    numbers = np.arange(size, dtype=np.int64)
    return Sample(features, labels, numbers, types, numbers, numbers)


@pytest.fixture(scope="module", params=[Boosted, Logistic])
def fitted(request: pytest.FixtureRequest) -> artifact.Fitted:
    sample = _sample()
    model: artifact.Fitted = request.param.fit(sample.features, sample.labels, np.ones(3_000), FEATURES)
    return model


def test_graph_answers_as_the_model(fitted: artifact.Fitted) -> None:
    features = _sample().features.copy()
    features[0] = np.nan
    features[1] = 0.0

    graph = fitted.graph(len(FEATURES))

    found = artifact.run(graph.SerializeToString(), features)
    np.testing.assert_allclose(found, fitted.log_odds(features), rtol=0, atol=1e-5)
    assert [output.name for output in graph.graph.output] == ["log_odds"]


def test_fitting_again_gives_the_same_bytes(fitted: artifact.Fitted) -> None:
    sample = _sample()

    again = type(fitted).fit(sample.features, sample.labels, np.ones(3_000), FEATURES)  # type: ignore[attr-defined]

    width = len(FEATURES)
    assert again.graph(width).SerializeToString() == fitted.graph(width).SerializeToString()


@pytest.mark.parametrize("threshold", [0.1, 1.0, -2.3, 1e-35, 1.0000000180025095e-35, 123456.789])
def test_thresholds_are_rounded_down(threshold: float) -> None:
    below = float32_below(threshold)

    assert below == np.float32(below) <= threshold
    assert float(np.nextafter(np.float32(below), np.float32(np.inf))) > threshold


def test_release_is_written_and_read_back(fitted: artifact.Fitted, tmp_path: Path) -> None:
    lines = calibration.Calibration(calibration.Line(), {"B": calibration.Line(0.9, -0.25)}, 'rows "of" a test')
    training = manifest.Training(date(2016, 11, 14), date(2017, 8, 1), date(2017, 8, 8), 3_000, 17)
    release = artifact.Release("coupon-test", "1", "For a test.", fitted, lines, training, "# card\n")
    progress: list[str] = []

    artifact.write(tmp_path, release, _sample(), progress.append)

    folder = tmp_path / "coupon-test" / "1"
    table = manifest.read(folder / "manifest.toml")
    content = (folder / "model.onnx").read_bytes()
    assert table["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest.calibration_of(table) == lines
    assert table["training"]["from"] == date(2016, 11, 14)
    assert [feature["name"] for feature in table["inputs"][0]["features"]] == list(FEATURES)
    _assert_golden(table, content)
    assert len(progress) == 1


def test_model_that_is_not_the_manifest_s_is_refused(fitted: artifact.Fitted, tmp_path: Path) -> None:
    training = manifest.Training(date(2016, 11, 14), date(2017, 8, 1), date(2017, 8, 8), 3_000, 17)
    release = artifact.Release("coupon-test", "1", "", fitted, calibration.NONE, training, "")
    artifact.write(tmp_path, release, _sample(), lambda line: None)
    folder = tmp_path / "coupon-test" / "1"

    (folder / "model.onnx").write_bytes(b"something else")

    with pytest.raises(ValueError, match="sha256"):
        evaluate.Model(folder)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_shipped_model_is_the_one_its_manifest_names(folder: Path) -> None:
    table = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
    content = (folder / "model.onnx").read_bytes()

    assert (table["name"], table["version"]) == (folder.parent.name, folder.name)
    assert table["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(content) < 1_000_000
    _assert_golden(table, content)
    assert np.isnan(np.array(table["golden"]["inputs"]["features"])).any()


def _assert_golden(table: manifest.Table, content: bytes) -> None:
    golden = table["golden"]
    output = artifact.run(content, np.array(golden["inputs"]["features"], dtype=np.float32))
    np.testing.assert_allclose(output, golden["output"], rtol=0, atol=1e-5)
    found = manifest.calibration_of(table).propensities(output, np.array(golden["groups"]))
    np.testing.assert_allclose(found, golden["propensity"], rtol=0, atol=1e-5)


def test_missing_values_go_where_lightgbm_sends_them() -> None:
    node = {"missing_type": "None", "default_left": False, "threshold": 1.5}

    assert boosted.missing_goes_left(node)
    assert not boosted.missing_goes_left({**node, "threshold": -1.5})
    assert not boosted.missing_goes_left({**node, "missing_type": "NaN"})


def test_missing_types_are_no_type() -> None:
    sample = _sample(200)
    model = logistic.Logistic.fit(sample.features, sample.labels, np.ones(200), FEATURES)
    features = sample.features.copy()
    features[:, FEATURES.index(NOMINAL)] = np.nan

    assert np.isfinite(model.log_odds(features)).all()


def test_samples_are_chosen_and_joined() -> None:
    sample = _sample(10)

    both = joined([sample.of([1, 2]), sample.of([9])])

    assert both.campaigns.tolist() == [1, 2, 9]
    np.testing.assert_array_equal(both.features, sample.features[[1, 2, 9]])


def test_campaign_ranges_are_read() -> None:
    assert evaluate.parse_campaigns("8, 13-15") == [8, 13, 14, 15]
    with pytest.raises(ValueError, match="invalid literal"):
        evaluate.parse_campaigns("thirteen")
