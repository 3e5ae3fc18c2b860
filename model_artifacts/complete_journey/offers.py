"""The coupons of the campaigns running on a day, as offer attributes: one row per campaign and coupon.

All numbers come from rows dated before the day; that a campaign starts on the day, and with which coupons and
recipients, is known that morning. Texts that are keys of household attributes are slugs.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from model_artifacts.complete_journey import redemptions, sales
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.identifiers import slugs


def running(dataset: Dataset, day: date) -> list[int]:
    """The campaigns that run on `day`, in order."""
    moment = np.datetime64(day)
    campaigns = dataset.campaigns
    return sorted(campaigns.loc[(campaigns["start"] <= moment) & (campaigns["end"] >= moment), "campaign"])


def attributes(dataset: Dataset, day: date, campaigns: list[int]) -> pd.DataFrame:
    """One row per campaign and coupon, sorted, with every offer attribute and `revenue`.

    Columns: campaign, coupon (ints), campaign_type, department, category, manufacturer, brand (texts),
    `category_name` (as in the data), start, end, and numbers: discount, price, revenue (dollars), products,
    categories, households_90d, campaign_days, campaign_coupons, campaign_households (counts),
    private_label_share, discounted_share (of 1), coupon_rate, category_rate, type_rate (redemptions per
    household and coupon). A coupon in several of the campaigns stands for the products of all of them.
    """
    coupons = dataset.coupons[dataset.coupons["campaign"].isin(campaigns)]
    facts = _facts(dataset, coupons)
    sold = sales.by_coupon(dataset, day, coupons, facts["category_name"])
    table = coupons[["campaign", "coupon"]].drop_duplicates().sort_values(["campaign", "coupon"])
    table = table.merge(_campaigns(dataset, coupons), on="campaign")
    table = table.merge(facts, left_on="coupon", right_index=True).merge(sold, left_on="coupon", right_index=True)
    mailed = dataset.before(day + timedelta(days=1)).coupons
    rates = redemptions.rates(dataset, day, _facts(dataset, mailed)["category_name"])
    columns = {"coupon": "coupon", "category": "category_name", "type": "campaign_type"}
    for by, column in columns.items():
        table[f"{by}_rate"] = table[column].map(rates[by]).astype(float).fillna(redemptions.UNSEEN)
    return table.reset_index(drop=True)


def _campaigns(dataset: Dataset, coupons: pd.DataFrame) -> pd.DataFrame:
    table = dataset.campaigns[dataset.campaigns["campaign"].isin(coupons["campaign"])]
    table = table.rename(columns={"type": "campaign_type"})
    table["campaign_days"] = (table["end"] - table["start"]).dt.days + 1
    table["campaign_coupons"] = table["campaign"].map(coupons.groupby("campaign")["coupon"].nunique())
    table["campaign_households"] = table["campaign"].map(dataset.recipients.groupby("campaign").size())
    return table


def _facts(dataset: Dataset, coupons: pd.DataFrame) -> pd.DataFrame:
    """What a coupon is good for, by coupon: counts, and the department, category and maker of most products."""
    rows = coupons[["coupon", "product"]].drop_duplicates().merge(dataset.products, on="product", how="left")
    rows["department"] = rows["department"].astype(object).fillna("UNKNOWN").astype(str)
    rows["category"] = rows["category"].astype(object).fillna("UNKNOWN").astype(str)
    rows["private"] = rows["private"].fillna(False).astype(float)
    rows["manufacturer"] = rows["manufacturer"].fillna(0).astype(int)
    groups = rows.groupby("coupon")
    table = groups.agg(
        products=("product", "size"), categories=("category", "nunique"), private_label_share=("private", "mean")
    ).astype(float)
    table["category_name"] = _main(rows, "category")
    table["category"] = slugs(table["category_name"])
    table["department"] = slugs(_main(rows, "department"))
    table["manufacturer"] = "m" + _main(rows, "manufacturer").astype(str)
    table["brand"] = np.select(
        [table["private_label_share"] >= 1.0, table["private_label_share"] <= 0.0], ["private", "national"], "mixed"
    )
    return table


def _main(rows: pd.DataFrame, column: str) -> pd.Series:
    """The value that most of the coupon's products have; the first in order where two have as many."""
    counts = rows.groupby(["coupon", column]).size().rename("count").reset_index()
    counts = counts.sort_values(["coupon", "count", column], ascending=[True, False, True])
    return counts.drop_duplicates("coupon").set_index("coupon")[column]
