"""The labelled feature matrix of many campaigns: what models are fitted to and measured on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_artifacts.complete_journey import frames, observation, schema
from model_artifacts.complete_journey.catalog import NUMBERS
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.features import Matrix, assemble
from model_artifacts.complete_journey.households import BANDS
from model_artifacts.complete_journey.metrics import Floats, Labels

Progress = Callable[[str], None]

FEATURES: tuple[str, ...] = (
    *(f"customer.{name}" for name in (*schema.TIMESTAMPS, *schema.NUMBERS, *BANDS)),
    *(
        f"customer.{name}[offer.{by}]"
        for name, by in {**schema.KEYED_NUMBERS, **schema.KEYED_TIMESTAMPS}.items()
        if by != "department"  # its share of spend made campaigns 13 to 17 slightly worse
    ),
    *(f"offer.{name}" for name in NUMBERS),
    "offer.campaign_type",
)
"""What both models read, in order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Pairs as columns, campaign after campaign; `features` is float32 [pairs, features]."""

    features: Matrix
    labels: Labels
    campaigns: NDArray[np.int64]
    types: NDArray[np.str_]
    households: NDArray[np.int64]
    coupons: NDArray[np.int64]

    def of(self, campaigns: Iterable[int]) -> Sample:
        """The pairs of some campaigns, in the order they have here."""
        rows = np.isin(self.campaigns, list(campaigns))
        return Sample(
            self.features[rows],
            self.labels[rows],
            self.campaigns[rows],
            self.types[rows],
            self.households[rows],
            self.coupons[rows],
        )

    def labelled(self, dataset: Dataset) -> Labels:
        """The labels as they were known when `dataset` was cut."""
        pairs = pd.DataFrame({"household": self.households, "coupon": self.coupons})
        found = np.zeros(len(pairs), dtype=np.int8)
        for campaign in np.unique(self.campaigns):
            rows = self.campaigns == campaign
            found[rows] = frames.labels(dataset, int(campaign), pairs[rows])
        return found

    def weights(self, dataset: Dataset, labels: Labels) -> Floats:
        """Weighs the positives of campaigns that `dataset` saw in part by one over the share it saw."""
        shares = observation.shares(dataset)
        seen = np.array([shares[int(campaign)] for campaign in np.unique(self.campaigns)])
        share = seen[np.unique(self.campaigns, return_inverse=True)[1]]
        return np.where(labels == 1, 1.0 / share, 1.0)


def build(dataset: Dataset, campaigns: Sequence[int], progress: Progress, names: Sequence[str] = FEATURES) -> Sample:
    """The sample of `campaigns`, features as of each one's start, labels as far as `dataset` goes."""
    parts = []
    for number, campaign in enumerate(campaigns, 1):
        began = time.perf_counter()
        part = _part(dataset, campaign, names)
        parts.append(part)
        progress(
            f"campaign {campaign:>2} ({number}/{len(campaigns)}): {len(part.labels):>7,} pairs, "
            f"{int(part.labels.sum()):>3} redeemed, {time.perf_counter() - began:.1f} s"
        )
    return joined(parts)


def joined(parts: Sequence[Sample]) -> Sample:
    """Samples one after the other."""
    return Sample(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.campaigns for part in parts]),
        np.concatenate([part.types for part in parts]),
        np.concatenate([part.households for part in parts]),
        np.concatenate([part.coupons for part in parts]),
    )


def _part(dataset: Dataset, campaign: int, names: Sequence[str]) -> Sample:
    one = frames.frame(dataset, campaign)
    size = len(one.labels)
    return Sample(
        features=assemble(one.document, one.deltas, one.pairs, names, one.now),
        labels=one.labels,
        campaigns=np.full(size, campaign, dtype=np.int64),
        types=np.full(size, one.campaign_type),
        households=one.pairs["household"].to_numpy(),
        coupons=one.pairs["coupon"].to_numpy(),
    )
