"""Writes a model as it is shipped: the graph, the manifest with golden rows, and the card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnxruntime

from model_artifacts.complete_journey import manifest, scores
from model_artifacts.complete_journey.calibration import Calibration
from model_artifacts.complete_journey.features import Matrix
from model_artifacts.complete_journey.metrics import Floats
from model_artifacts.complete_journey.samples import FEATURES, Progress, Sample
from model_artifacts.complete_journey.scores import Scores

_GOLDEN_ROWS = 12
_TOLERANCE = 1e-5


class Fitted(Protocol):
    """A fitted model: its own log-odds, and the graph that must give the same."""

    def log_odds(self, features: Matrix) -> Floats: ...

    def graph(self, features: int) -> onnx.ModelProto: ...


@dataclass(frozen=True, slots=True)
class Release:
    """A model ready to be written."""

    name: str
    version: str
    description: str
    model: Fitted
    calibration: Calibration
    training: manifest.Training
    card: str
    campaigns: Sequence[int] | None = None
    """Those it was fitted to; None: all of the sample it is written with."""


def write(output: Path, release: Release, sample: Sample, progress: Progress) -> None:
    """Writes `output`/NAME/VERSION, after checking the graph against the model on rows of `sample`.

    Raises ValueError where they differ by more than 1e-5.
    """
    content = release.model.graph(len(FEATURES)).SerializeToString(deterministic=True)
    difference = _difference(release.model, content, sample.features[:: max(1, len(sample.features) // 20_000)])
    if difference > _TOLERANCE:
        raise ValueError(f"{release.name}: the graph differs from the model by {difference:.2g}")
    table = manifest.manifest(
        name=release.name,
        version=release.version,
        description=release.description,
        model_bytes=content,
        names=FEATURES,
        calibration=release.calibration,
        training=release.training,
        golden=_golden(release, content, sample),
        scores=_scores(release, content, sample),
    )
    folder = output / release.name / release.version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "manifest.toml").write_text(manifest.text(table), encoding="utf-8")
    (folder / "card.md").write_text(release.card, encoding="utf-8")
    progress(f"wrote {folder} ({len(content) / 1024:.0f} KiB, graph within {difference:.1g} of the model)")


def run(content: bytes, features: Matrix) -> Floats:
    """The graph's output, one value per row."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"features": features})[0].reshape(-1), dtype=np.float64)


def _difference(model: Fitted, content: bytes, features: Matrix) -> float:
    return float(np.abs(run(content, features) - model.log_odds(features)).max())


def _golden(release: Release, content: bytes, sample: Sample) -> manifest.Golden:
    """Rows of every campaign type from the least to the most likely, one of them with nothing known at all."""
    rows = np.concatenate([_spread(release, sample, group) for group in ("A", "B", "C")])
    features = sample.features[rows].copy()
    features[0] = np.where([name.startswith("customer.") for name in FEATURES], np.nan, features[0])
    groups, output = sample.types[rows], run(content, features)
    return manifest.Golden(features, groups, output, release.calibration.propensities(output, groups))


def _scores(release: Release, content: bytes, sample: Sample) -> Scores:
    trained_on = sample if release.campaigns is None else sample.of(release.campaigns)
    log_odds = run(content, trained_on.features)
    return scores.spread(release.calibration.propensities(log_odds, trained_on.types))


def _spread(release: Release, sample: Sample, group: str) -> Sequence[int]:
    members = np.flatnonzero(sample.types == group)
    ordered = members[np.argsort(release.model.log_odds(sample.features[members]), kind="stable")]
    picked: Sequence[int] = ordered[np.linspace(0, len(ordered) - 1, _GOLDEN_ROWS // 3).astype(int)]
    return picked
