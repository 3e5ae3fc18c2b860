"""Scores a shipped model on campaigns: the ONNX file and the manifest's calibration, nothing of the trainer's."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from model_artifacts.complete_journey import dataset, manifest, samples
from model_artifacts.complete_journey.features import Matrix
from model_artifacts.complete_journey.metrics import Floats, by_type

MODELS = Path(__file__).resolve().parent.parent
_EVERYTHING = date(2200, 1, 1)
_BATCH = 50_000


class Model:
    """A model file with its manifest. Raises ValueError where the file is not the one the manifest names."""

    def __init__(self, folder: Path) -> None:
        self.manifest = manifest.read(folder / "manifest.toml")
        stated = self.manifest["file"]
        content = (folder / stated["path"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != stated["sha256"]:
            raise ValueError(f"{folder / stated['path']} does not have the sha256 of its manifest")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.features = [feature["name"] for feature in self.manifest["inputs"][0]["features"]]

    def log_odds(self, features: Matrix) -> Floats:
        """The raw output, one value per row."""
        name, output = self.manifest["inputs"][0]["name"], self.manifest["output"]["name"]
        parts = [
            self._session.run([output], {name: features[start : start + _BATCH]})[0].reshape(-1)
            for start in range(0, len(features), _BATCH)
        ]
        return np.concatenate([*parts, np.empty(0)]).astype(np.float64)

    def propensities(self, sample: samples.Sample) -> Floats:
        """The calibrated probability that each pair is redeemed."""
        return manifest.calibration_of(self.manifest).propensities(self.log_odds(sample.features), sample.types)


def evaluate(
    model_dir: Path,
    campaigns: Sequence[int],
    until: date | None = None,
    progress: samples.Progress = lambda line: None,
) -> dict[str, Any]:
    """Scores the model in `model_dir` on `campaigns`, each pair as of its campaign's start.

    A pair counts as positive when it was redeemed before `until` (exclusive). Without `until`, campaigns that
    start before 2017-10-30 count redemptions before that day, which is all that was known when the models
    were made (14 to 17 were still running: 13 to 17 have 696 positives), and later campaigns count every
    redemption in the data set. Rows from 2017-10-30 on are read for later campaigns only.

    Returns pairs, positives, auc, pr_auc, log_loss (nats a pair) and observed_over_expected, overall and
    under `by_type` for A, B, C and B+C. Raises KeyError for a campaign that the data set does not have.
    """
    model = Model(model_dir)
    parts = [
        samples.build(known, chosen, progress, model.features)
        for known, chosen in _horizons(campaigns, until)
        if chosen
    ]
    scored = [model.propensities(part) for part in parts]
    labels, types = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "types"))
    return by_type(labels, np.concatenate(scored), types)


def _horizons(campaigns: Sequence[int], until: date | None) -> Iterable[tuple[dataset.Dataset, list[int]]]:
    if until is not None:
        yield dataset.load(until), list(campaigns)
        return
    known = dataset.load(dataset.TRAINING_UNTIL)
    early = set(known.campaigns["campaign"].tolist())
    yield known, [campaign for campaign in campaigns if campaign in early]
    later = [campaign for campaign in campaigns if campaign not in early]
    if later:
        yield dataset.load(_EVERYTHING), later


def parse_campaigns(text: str) -> list[int]:
    """ "13-17" and "8,13-17" as a list of campaigns. Raises ValueError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def main(model: str, campaigns: str, json_file: Path | None, models: Path = MODELS) -> None:
    """Evaluates `models`/NAME/VERSION, prints a table and, if asked for, writes the figures as JSON."""
    began = time.perf_counter()
    chosen = parse_campaigns(campaigns)
    figures = evaluate(models / model, chosen, progress=lambda line: print(line, flush=True))
    print(f"\n{model} on campaigns {campaigns}, {time.perf_counter() - began:.0f} s")
    print(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps({"model": model, "campaigns": chosen, **figures}, indent=2) + "\n")


def table(figures: dict[str, Any]) -> str:
    """The figures overall and by campaign type, one line each."""
    lines = [f"{'':>8} {'pairs':>9} {'positives':>9} {'AUC':>7} {'PR-AUC':>7} {'log loss':>9} {'obs/exp':>7}"]
    for name, row in {"all": figures, **figures["by_type"]}.items():
        shown = [f"{row[key]:.{digits}f}" if row[key] is not None else "-" for key, digits in _DIGITS]
        auc, pr_auc, loss, ratio = shown
        lines.append(f"{name:>8} {row['pairs']:>9,} {row['positives']:>9,} {auc:>7} {pr_auc:>7} {loss:>9} {ratio:>7}")
    return "\n".join(lines)


_DIGITS = (("auc", 4), ("pr_auc", 4), ("log_loss", 5), ("observed_over_expected", 2))
