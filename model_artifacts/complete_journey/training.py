"""Makes the shipped models again: both kinds, version 1 (validated) and version 2 (refitted on everything).

Version 1 is fitted on the campaigns before August 2017 and measured on 13 to 17. Version 2 has the same
settings and is fitted on all campaigns before 2017-10-30. It cannot be measured on them, so that it takes its
calibration from how models with these settings did on campaigns that were still in their future.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from model_artifacts.complete_journey import boosted, calibration, card, dataset, evidence, frames, logistic
from model_artifacts.complete_journey.artifact import Fitted, Release, write
from model_artifacts.complete_journey.evidence import Scored
from model_artifacts.complete_journey.manifest import Training
from model_artifacts.complete_journey.samples import FEATURES, Progress, Sample, build, joined

FIRST_DAY = date(2016, 11, 14)  # the first campaign's start
VALIDATED_FROM = date(2017, 8, 1)  # campaigns that start from here on are kept for validation
VALIDATION = (13, 14, 15, 16, 17)

SEPARATE = {"A": ("A",), "B": ("B",), "C": ("C",)}
_LEVEL_ONLY = 0.01  # fixes slopes at 1: those of the earliest models, made from 119 redemptions, do not carry over
_POOLED = {"A": ("A",), "B": ("B", "C"), "C": ("B", "C")}


@dataclass(frozen=True, slots=True)
class Origin:
    """A day on which a model is fitted to what was known that morning, to be measured on campaigns to come.

    It is fitted to the campaigns that start before `since` and measured on those that start in [since, until).
    """

    day: date
    since: date
    until: date


ORIGINS = (
    Origin(date(2017, 5, 8), date(2017, 5, 8), date(2017, 5, 31)),
    Origin(date(2017, 5, 31), date(2017, 5, 31), VALIDATED_FROM),
    Origin(date(2017, 8, 8), VALIDATED_FROM, dataset.TRAINING_UNTIL),
)
"""The last one makes version 1: no campaign starts between 2017-08-01 and 2017-08-08."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model: its name, what it is, how it is fitted and with which settings."""

    name: str
    description: str
    trainer: type[boosted.Boosted] | type[logistic.Logistic]
    settings: Mapping[str, Any]


KINDS = (
    Kind(
        "coupon-logistic",
        "Chance that a household redeems a coupon during its campaign: logistic regression.",
        logistic.Logistic,
        {"inverse penalty": logistic.PENALTY, "inputs": "signed log, scaled, flags for missing and for the type"},
    ),
    Kind(
        "coupon-boosted",
        "Chance that a household redeems a coupon during its campaign: gradient-boosted trees.",
        boosted.Boosted,
        {**boosted.SETTINGS, "rounds": boosted.ROUNDS, "seeds": boosted.SEEDS},
    ),
)


def train(output: Path, progress: Progress) -> None:
    """Writes `output`/NAME/VERSION/{model.onnx, manifest.toml, card.md} for both kinds and versions.

    Takes a few minutes on two cores; `progress` gets a line whenever something is done. The same data and
    library versions give the same bytes.
    """
    began = time.perf_counter()
    progress(f"loading the data set, without any row from {dataset.TRAINING_UNTIL} on")
    known = dataset.load(dataset.TRAINING_UNTIL)
    sample = build(known, frames.started(known, dataset.TRAINING_UNTIL), progress)
    for kind in KINDS:
        _train_kind(kind, known, sample, output, progress)
    progress(f"done in {time.perf_counter() - began:.0f} s")


def _train_kind(kind: Kind, known: dataset.Dataset, sample: Sample, output: Path, progress: Progress) -> None:
    rolled: list[Scored] = []
    for origin in ORIGINS:
        model, training = _fit(kind, known.before(origin.day), sample, origin.since, progress)
        unseen = sample.of(frames.started(known, origin.until, origin.since))
        rolled.append(Scored(unseen, model.log_odds(unseen.features)))
    seen = evidence.validated(rolled[-1], known, SEPARATE)
    release = _validated(kind, model, training, rolled[-1], seen)
    write(output, replace(release, campaigns=frames.started(known, training.until)), sample, progress)
    final, everything = _fit(kind, known, sample, dataset.TRAINING_UNTIL, progress)
    lines = _calibrated(rolled, known)
    sections = [
        evidence.rolling([origin.day for origin in ORIGINS], rolled),
        evidence.forward(_calibrated(rolled[:-1], known.before(ORIGINS[-1].day)), rolled[-1], known),
        *evidence.quoted(seen),
    ]
    release = _refitted(kind, final, everything, lines, sections)
    write(output, replace(release, campaigns=frames.started(known, everything.until)), sample, progress)


def _fit(kind: Kind, past: dataset.Dataset, sample: Sample, until: date, progress: Progress) -> tuple[Fitted, Training]:
    """Fits to the campaigns that start before `until`, with the labels that `past` knows."""
    began = time.perf_counter()
    chosen = sample.of(frames.started(past, until))
    labels = chosen.labelled(past)
    model = kind.trainer.fit(chosen.features, labels, chosen.weights(past, labels), FEATURES)
    training = Training(FIRST_DAY, until, past.until, len(labels), int(labels.sum()))
    progress(
        f"{kind.name} fitted to campaigns before {until}: {training.pairs:,} pairs, {training.positives} "
        f"redeemed before {past.until}, {time.perf_counter() - began:.1f} s"
    )
    return model, training


def _validated(kind: Kind, model: Fitted, training: Training, scored: Scored, sections: list[str]) -> Release:
    """Version 1, calibrated on all the pairs it was measured on."""
    unseen = scored.sample
    lines = calibration.fit(
        scored.log_odds,
        unseen.labels,
        unseen.types,
        pools=SEPARATE,
        fitted_on="campaigns 13 to 17, redemptions before 2017-10-30",
    )
    summary = (
        f"{kind.description} The version for validation: calibrated to what was redeemed before 2017-10-30, "
        "when four of its five campaigns were still running. Serve version 2."
    )
    return _release(kind, "1", model, lines, training=training, summary=summary, sections=sections)


def _calibrated(rolled: Sequence[Scored], known: dataset.Dataset) -> calibration.Calibration:
    """Lines for campaigns to come, from campaigns each scored by a model made before it started."""
    unseen = joined([scored.sample for scored in rolled])
    labels = unseen.labelled(known)
    return calibration.fit(
        np.concatenate([scored.log_odds for scored in rolled]),
        labels,
        unseen.types,
        pools=_POOLED,
        fitted_on="campaigns 8 to 17, scored by models made before their start, redemptions scaled to whole campaigns",
        weights=unseen.weights(known, labels),
        slope_spread=_LEVEL_ONLY,
    )


def _refitted(
    kind: Kind, model: Fitted, training: Training, lines: calibration.Calibration, sections: list[str]
) -> Release:
    """Version 2."""
    summary = (
        f"{kind.description} The version to serve: version 1's settings, fitted again with campaigns 13 to 17. "
        "Nothing before 2017-10-30 is left to measure it on; what is known of it is how the same settings did "
        "on campaigns that were still to come, below."
    )
    return _release(kind, "2", model, lines, training=training, summary=summary, sections=sections)


def _release(
    kind: Kind,
    version: str,
    model: Fitted,
    lines: calibration.Calibration,
    *,
    training: Training,
    summary: str,
    sections: list[str],
) -> Release:
    text = card.card(
        title=f"{kind.name} {version}",
        summary=summary,
        training=training,
        evidence=sections,
        calibration=lines,
        settings=kind.settings,
        important=model.gains(FEATURES) if isinstance(model, boosted.Boosted) else [],
    )
    return Release(kind.name, version, kind.description, model, lines, training, text)
