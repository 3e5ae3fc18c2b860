"""Labelled pairs: who received a campaign, with which coupons, and what was redeemed.

A pair is a household that received a campaign and one of the campaign's coupons. In campaigns of type B and C
every recipient had every coupon; of type A the data does not say which 16 of the coupons a household got, so
that its pairs are candidates rather than certain exposures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_artifacts.complete_journey import catalog
from model_artifacts.complete_journey.catalog import Document
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.deltas import Delta, deltas
from model_artifacts.complete_journey.identifiers import customer_id, offer_id


@dataclass(frozen=True, slots=True)
class Frame:
    """One campaign as of its first morning, and what came of it until the data set's cut."""

    campaign: int
    campaign_type: str  # "A", "B" or "C"
    day: date
    document: Document
    deltas: tuple[Delta, ...]
    pairs: pd.DataFrame  # household, coupon, customer (id), offer (id)
    labels: NDArray[np.int8]  # 1 where the pair was redeemed before the cut

    @property
    def now(self) -> datetime:
        """The moment as of which ages are read: midnight, UTC."""
        return datetime.combine(self.day, datetime.min.time(), tzinfo=UTC)


def frame(dataset: Dataset, campaign: int) -> Frame:
    """The frame of one campaign of `dataset`; labels count all of its redemptions that `dataset` has.

    Attributes and offers are as of the campaign's start, whatever else `dataset` knows. Raises KeyError for a
    campaign that is not in it.
    """
    row = dataset.campaigns.set_index("campaign").loc[campaign]
    day = row["start"].date()
    received = pairs(dataset, campaign)
    document = catalog.document(dataset, day, [campaign])
    return Frame(
        campaign=campaign,
        campaign_type=str(row["type"]),
        day=day,
        document=document,
        deltas=tuple(deltas(dataset, day, document, received["household"].unique())),
        pairs=received,
        labels=labels(dataset, campaign, received),
    )


def started(dataset: Dataset, before: date, since: date = date.min) -> list[int]:
    """The campaigns that start in [since, before), in order of start."""
    ordered = dataset.campaigns.sort_values(["start", "campaign"])
    days = ordered["start"].dt.date
    return [int(campaign) for campaign in ordered.loc[(days >= since) & (days < before), "campaign"]]


def count(frames: Iterable[Frame]) -> tuple[int, int]:
    """Pairs and positive pairs."""
    sizes = [(len(one.labels), int(one.labels.sum())) for one in frames]
    return sum(size for size, _ in sizes), sum(positives for _, positives in sizes)


def pairs(dataset: Dataset, campaign: int) -> pd.DataFrame:
    """Recipients times coupons of a campaign, in order: columns household, coupon, customer and offer (ids)."""
    recipients, coupons = dataset.recipients, dataset.coupons
    received = np.sort(recipients.loc[recipients["campaign"] == campaign, "household"].unique())
    offered = np.sort(coupons.loc[coupons["campaign"] == campaign, "coupon"].unique())
    customers = np.array([customer_id(household) for household in received], dtype=object)
    offers = np.array([offer_id(campaign, coupon) for coupon in offered], dtype=object)
    return pd.DataFrame(
        {
            "household": np.repeat(received, len(offered)),
            "coupon": np.tile(offered, len(received)),
            "customer": np.repeat(customers, len(offered)),
            "offer": np.tile(offers, len(received)),
        }
    )


def labels(dataset: Dataset, campaign: int, pairs: pd.DataFrame) -> NDArray[np.int8]:
    """1 for each pair (columns household, coupon) of which `dataset` has a redemption in the campaign."""
    redeemed = dataset.redemptions[dataset.redemptions["campaign"] == campaign]
    keys = pd.MultiIndex.from_frame(redeemed[["household", "coupon"]])
    found: NDArray[np.int8] = pd.MultiIndex.from_frame(pairs[["household", "coupon"]]).isin(keys).astype(np.int8)
    return found
