"""What the products of a coupon sold before a day: the numbers behind an offer's price, discount and revenue."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.economics import FALLBACK_DISCOUNT, FALLBACK_REVENUE

_ENOUGH_DISCOUNTS = 5  # fewer discounts than this say too little about a coupon's own discount
_PRIOR_BASKETS = 20.0  # how many baskets the category's revenue weighs as much as
_DISCOUNT_STEP = 0.05  # dollars: coupons are printed in nickels


def by_coupon(dataset: Dataset, day: date, coupons: pd.DataFrame, categories: pd.Series) -> pd.DataFrame:
    """One row per coupon, indexed by coupon, from rows dated before `day`.

    `coupons` has the columns coupon and product; `categories` gives each coupon's category. Columns: `price`
    (dollars a piece before discounts, NaN if never sold), `households_90d` (buyers), `discounted_share` (of
    receipt lines with a coupon discount), `revenue` (dollars a basket) and `discount` (dollars a line).
    """
    past = dataset.before(day)
    lines = past.transactions[past.transactions["product"].isin(coupons["product"])]
    lines = lines.assign(
        price=(lines["spend"] + lines["shelf_discount"]) / lines["quantity"].where(lines["quantity"] > 0),
        discounted=lines["coupon_discount"] > 0,
        recent=lines["time"] >= np.datetime64(day) - np.timedelta64(90, "D"),
    )
    joined = lines.merge(coupons[["coupon", "product"]].drop_duplicates(), on="product")
    table = pd.DataFrame(index=pd.Index(np.sort(coupons["coupon"].unique()), name="coupon"))
    groups = joined.groupby("coupon")
    table["price"] = groups["price"].median()
    table["discounted_share"] = groups["discounted"].mean()
    table["households_90d"] = joined[joined["recent"]].groupby("coupon")["household"].nunique()
    table[["discounted_share", "households_90d"]] = table[["discounted_share", "households_90d"]].fillna(0.0)
    table["revenue"] = _revenue(joined, categories.reindex(table.index))
    table["discount"] = _discount(joined[joined["discounted"]], categories.reindex(table.index))
    return table


def _revenue(joined: pd.DataFrame, categories: pd.Series) -> pd.Series:
    baskets = joined.groupby(["coupon", "basket"])["spend"].sum().groupby("coupon")
    total, count = (series.reindex(categories.index, fill_value=0.0) for series in (baskets.sum(), baskets.size()))
    kind_total, kind_count = (series.groupby(categories).transform("sum") for series in (total, count))
    prior = (kind_total + _PRIOR_BASKETS * FALLBACK_REVENUE) / (kind_count + _PRIOR_BASKETS)
    return (total + _PRIOR_BASKETS * prior) / (count + _PRIOR_BASKETS)


def _discount(discounted: pd.DataFrame, categories: pd.Series) -> pd.Series:
    own = discounted.groupby("coupon")["coupon_discount"].agg(["median", "size"]).reindex(categories.index)
    kind = discounted["coupon"].map(categories)
    shared = discounted.groupby(kind)["coupon_discount"].median()
    chosen = own["median"].where(own["size"] >= _ENOUGH_DISCOUNTS).fillna(categories.map(shared))
    return (chosen.fillna(FALLBACK_DISCOUNT) / _DISCOUNT_STEP).round().clip(lower=1.0) * _DISCOUNT_STEP
