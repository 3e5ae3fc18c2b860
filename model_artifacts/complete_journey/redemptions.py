"""How often coupons were redeemed in the campaigns that had ended before a day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset

_PRIOR_RATE = 0.0025  # redemptions per household and coupon, over all campaigns
_PRIOR_PAIRS = 400.0  # how many pairs that prior weighs as much as: one expected redemption


def rates(dataset: Dataset, day: date, categories: pd.Series) -> dict[str, pd.Series]:
    """Redemptions per household and coupon mailed, drawn towards a prior, keyed by what they are a rate of.

    `categories` gives each coupon's category. The keys are `coupon`, `category` and `type` (of campaign); a
    value absent from the series was never mailed before `day`, use `UNSEEN` for it.
    """
    past = dataset.before(day)
    ended = past.campaigns[past.campaigns["end"] < np.datetime64(day)]
    mailed = past.coupons[["campaign", "coupon"]].drop_duplicates().merge(ended[["campaign", "type"]])
    mailed["pairs"] = mailed["campaign"].map(past.recipients.groupby("campaign").size())
    redeemed = past.redemptions.drop_duplicates(["household", "coupon", "campaign"])
    counts = redeemed.groupby(["campaign", "coupon"]).size().rename("redeemed").reset_index()
    mailed = mailed.merge(counts, how="left").fillna({"redeemed": 0.0})
    mailed["category"] = mailed["coupon"].map(categories)
    return {by: _rate(mailed.groupby(by)[["redeemed", "pairs"]].sum()) for by in ("coupon", "category", "type")}


UNSEEN = _PRIOR_RATE
"""The rate of what was never mailed."""


def _rate(sums: pd.DataFrame) -> pd.Series:
    return (sums["redeemed"] + _PRIOR_RATE * _PRIOR_PAIRS) / (sums["pairs"] + _PRIOR_PAIRS)
