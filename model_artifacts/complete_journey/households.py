"""What is known about a household on the morning of a day: one value per household and attribute.

Only rows dated before the day count, except that a campaign which starts on the day is already known to have
been received. What a household has to do with a coupon, a category or a department is in `affinities`.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset

BANDS: dict[str, list[str]] = {
    "age": ["19-24", "25-34", "35-44", "45-54", "55-64", "65+"],
    "income": [
        *["Under 15K", "15-24K", "25-34K", "35-49K", "50-74K", "75-99K", "100-124K", "125-149K"],
        *["150-174K", "175-199K", "200-249K", "250K+"],
    ],
    "household_size": ["1", "2", "3", "4", "5+"],
    "kids_count": ["0", "1", "2", "3+"],
    "home_ownership": ["Renter", "Probable Renter", "Probable Homeowner", "Homeowner"],
    "marital_status": ["Unmarried", "Married"],
}
"""The panel's own bands, from low to high, so that a model may read the position as a number."""

_PRIOR_RATE = 0.1  # the share of received campaigns that a household about which nothing is known redeems from
_PRIOR_CAMPAIGNS = 5.0  # how many campaigns that prior weighs as much as


def attributes(dataset: Dataset, day: date) -> pd.DataFrame:
    """One row per household known on `day`, indexed by household.

    Numbers are float64 (counts, dollars, shares of 1), `last_purchase` and `last_redemption` are datetime64
    and the demographic bands are text. Missing is NaN or NaT: a household of which no purchase is known has
    counts of zero but no shares.
    """
    past = dataset.before(day)
    table = pd.DataFrame(index=_known(past, dataset, day))
    table["last_purchase"] = past.transactions.groupby("household")["time"].max()
    for name, column in {**_purchases(past, day), **_campaigns(past, day)}.items():
        table[name] = column
    counts = [name for name in table.columns if name != "last_purchase" and "share" not in name]
    table[counts] = table[counts].fillna(0.0)
    table["basket_average_90d"] = table["spend_90d"] / table["baskets_90d"].where(table["baskets_90d"] > 0)
    rate = table["redeemed_campaigns_180d"] + _PRIOR_RATE * _PRIOR_CAMPAIGNS
    table["redemption_rate_180d"] = rate / (table["campaigns_received_180d"] + _PRIOR_CAMPAIGNS)
    table["last_redemption"] = past.redemptions.groupby("household")["day"].max()
    return table.join(past.demographics.set_index("household")[list(BANDS)])


def memberships(dataset: Dataset, day: date) -> pd.DataFrame:
    """Which campaigns each household has received by `day`, those that start on it included: household, campaign."""
    started = dataset.campaigns.loc[dataset.campaigns["start"] <= np.datetime64(day), "campaign"]
    received = dataset.recipients[dataset.recipients["campaign"].isin(started)]
    return received[["household", "campaign"]].sort_values(["household", "campaign"], ignore_index=True)


def _known(past: Dataset, dataset: Dataset, day: date) -> pd.Index:
    received = memberships(dataset, day)["household"]
    parts = [past.transactions["household"], past.demographics["household"], received]
    return pd.Index(np.unique(np.concatenate([part.to_numpy() for part in parts])), name="household")


def _since(day: date, days: int) -> np.datetime64:
    return np.datetime64(day) - np.timedelta64(days, "D")


def _purchases(past: Dataset, day: date) -> dict[str, pd.Series]:
    recent = past.transactions[past.transactions["time"] >= _since(day, 90)]
    recent = recent.merge(past.products[["product", "category", "private"]], on="product", how="left")
    month = recent[recent["time"] >= _since(day, 30)].groupby("household")
    couponed = recent[recent["coupon_discount"] > 0].groupby("household")
    quarter = recent.groupby("household")
    spend = quarter["spend"].sum()
    discount = quarter["shelf_discount"].sum() + quarter["coupon_discount"].sum()
    private = recent[recent["private"].fillna(False).astype(bool)].groupby("household")["spend"].sum()
    return {
        "baskets_30d": month["basket"].nunique(),
        "baskets_90d": quarter["basket"].nunique(),
        "spend_30d": month["spend"].sum(),
        "spend_90d": spend,
        "products_90d": quarter["product"].nunique(),
        "categories_90d": quarter["category"].nunique(),
        "stores_90d": quarter["store"].nunique(),
        "private_label_share_90d": private.reindex(spend.index, fill_value=0.0) / spend.where(spend > 0),
        "discount_share_90d": discount / (spend + discount).where(spend + discount > 0),
        "coupon_baskets_90d": couponed["basket"].nunique(),
        "coupon_discount_90d": couponed["coupon_discount"].sum(),
    }


def _campaigns(past: Dataset, day: date) -> dict[str, pd.Series]:
    redeemed = past.redemptions[past.redemptions["day"] >= _since(day, 180)].groupby("household")
    started = past.campaigns.loc[past.campaigns["start"] >= _since(day, 180), "campaign"]
    received = past.recipients[past.recipients["campaign"].isin(started)]
    return {
        "redemptions_180d": redeemed["coupon"].size(),
        "redeemed_campaigns_180d": redeemed["campaign"].nunique(),
        "campaigns_received_180d": received.groupby("household")["campaign"].size(),
    }
