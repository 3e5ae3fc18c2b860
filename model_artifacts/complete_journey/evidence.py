"""What a card says about how good a model is, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from model_artifacts.complete_journey import calibration, card, evaluate, metrics
from model_artifacts.complete_journey.calibration import Calibration
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.metrics import Floats
from model_artifacts.complete_journey.samples import Sample

CHOSEN_HERE = (
    "About fifty settings of features, trees and penalties were compared on these very campaigns before these "
    "were kept, so that the figures lean to the good side; most of the settings lie within the interval below, "
    "and differences of 0.002 in AUC or 0.005 in PR-AUC are no more than a change of seed brings."
)


@dataclass(frozen=True, slots=True)
class Scored:
    """Pairs that a model was not fitted to, with its log-odds."""

    sample: Sample
    log_odds: Floats


def validated(scored: Scored, known: Dataset, pools: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The sections on the validation of version 1."""
    unseen = scored.sample
    plain = calibration.NONE.propensities(scored.log_odds, unseen.types)
    honest = calibration.cross_fitted(scored.log_odds, unseen.labels, unseen.types, unseen.households, pools=pools)
    return [
        card.validation(
            "Validation on campaigns 13 to 17",
            "Each pair calibrated by lines fitted without its own household. Campaigns 14 to 17 were still "
            f"running on 2017-10-30, where the labels end. {CHOSEN_HERE}",
            metrics.by_type(unseen.labels, honest, unseen.types),
            metrics.intervals(unseen.labels, honest, unseen.households),
        ),
        card.reliability("The same propensities.", metrics.deciles(unseen.labels, honest)),
        card.validation(
            "The same without calibration",
            "The model means the redemptions of whole campaigns, but the labels end before four of the five "
            f"do. {_scaled(scored, plain, known)}",
            metrics.by_type(unseen.labels, plain, unseen.types),
        ),
    ]


def rolling(days: Sequence[date], rolled: Sequence[Scored]) -> str:
    """How the same settings did on campaigns that were still to come on each of `days`."""
    parts = ["## The same settings on campaigns to come", "Fitted on what was known on a day, no calibration."]
    for day, scored in zip(days, rolled, strict=True):
        unseen = scored.sample
        plain = calibration.NONE.propensities(scored.log_odds, unseen.types)
        campaigns = ", ".join(str(campaign) for campaign in dict.fromkeys(unseen.campaigns.tolist()))
        figures = evaluate.table(metrics.by_type(unseen.labels, plain, unseen.types))
        parts.append(f"Known on {day}, scored campaigns {campaigns}:\n\n```\n{figures}\n```")
    return "\n\n".join(parts)


def forward(earlier: Calibration, scored: Scored, known: Dataset) -> str:
    """How version 2's way of calibrating would have done on campaigns 13 to 17."""
    unseen = scored.sample
    propensities = earlier.propensities(scored.log_odds, unseen.types)
    return card.validation(
        "This way of calibrating, tried on 13 to 17",
        "Lines fitted as version 2's are, but from campaigns 8 to 12 only, for version 1's scores. Three "
        "stiffnesses of the slope were compared by this and the stiffest, which fixes it at about 1, kept. "
        f"{_scaled(scored, propensities, known)}",
        metrics.by_type(unseen.labels, propensities, unseen.types),
    )


def quoted(sections: Sequence[str]) -> list[str]:
    """Sections of version 1's card inside version 2's: headings one level down."""
    inner = [part.replace("## ", "### ") if part.startswith("## ") else part for part in sections]
    return ["## Validation of version 1, quoted", *inner]


def _scaled(scored: Scored, propensities: Floats, known: Dataset) -> str:
    """Observed over expected, had the running campaigns ended as earlier ones make one expect."""
    unseen = scored.sample
    whole = unseen.weights(known, unseen.labels) * unseen.labels
    ratios = []
    for name, members in metrics.GROUPS.items():
        rows = np.isin(unseen.types, members)
        ratios.append(f"{name} {whole[rows].sum() / propensities[rows].sum():.2f}")
    return (
        "Scaled to whole campaigns by when redemptions came in the campaigns that had ended, which is an "
        f"estimate from few campaigns, observed/expected would be {', '.join(ratios)}."
    )
