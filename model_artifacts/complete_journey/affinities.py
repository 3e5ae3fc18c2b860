"""What a household has to do with a coupon, a category or a department: attributes with one cell per key.

A cell exists only where there is something to tell: a household that never bought a coupon's products has no
cell, and both training and serving read the missing cell as NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.identifiers import slug, slugs

Cells = Mapping[str, pd.DataFrame]
"""By attribute: columns household, key (text) and value (float64, or datetime64 for timestamps); no NaN."""


def cells(dataset: Dataset, day: date, coupons: pd.DataFrame, categories: set[str], departments: set[str]) -> Cells:
    """All keyed attributes on the morning of `day`, for what is on offer.

    `coupons` has the columns coupon and product; `categories` and `departments` are the slugs that get a cell.
    Counts are lines of receipts, money is in dollars, shares are of all spend in 90 days. Rows dated on or
    after `day` do not count.
    """
    past = dataset.before(day)
    bought = _by_product(past, day)
    known = bought.merge(past.products[["product", "department", "category"]], on="product", how="left")
    return {
        **_coupon_cells(bought, coupons),
        **_only(_category_cells(known), categories),
        **_only({"department_spend_share": _department_shares(known)}, departments),
    }


def _only(tables: Cells, keys: set[str]) -> dict[str, pd.DataFrame]:
    return {name: table[table["key"].isin(keys)].reset_index(drop=True) for name, table in tables.items()}


def _by_product(past: Dataset, day: date) -> pd.DataFrame:
    """The whole history per household and product: everything else is a sum over these rows."""
    rows = past.transactions[["household", "product", "spend", "time"]].assign(purchases=1.0)
    rows["couponed"] = (past.transactions["coupon_discount"] > 0).astype(float)
    recent = rows["time"] >= np.datetime64(day) - np.timedelta64(90, "D")
    rows["spend_90d"] = rows["spend"].where(recent, 0.0)
    rows["purchases_90d"] = rows["purchases"].where(recent, 0.0)
    return _summed(rows, ["household", "product"])


def _summed(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    names = ("purchases", "spend", "couponed", "purchases_90d", "spend_90d", "products")
    how = {name: "sum" for name in names if name in rows.columns}
    return rows.groupby(by, observed=True, sort=True).agg({**how, "time": "max"}).reset_index()


def _coupon_cells(bought: pd.DataFrame, coupons: pd.DataFrame) -> dict[str, pd.DataFrame]:
    pairs = coupons[["coupon", "product"]].drop_duplicates()
    joined = bought[bought["product"].isin(pairs["product"])].merge(pairs, on="product").assign(products=1.0)
    totals = _summed(joined.drop(columns="product"), ["household", "coupon"])
    totals["key"] = totals["coupon"].astype(str)
    return {
        "coupon_purchases": _cells(totals, "purchases"),
        "coupon_purchases_90d": _cells(totals, "purchases_90d"),
        "coupon_spend": _cells(totals, "spend"),
        "coupon_spend_90d": _cells(totals, "spend_90d"),
        "coupon_products": _cells(totals, "products"),
        "coupon_discounted_purchases": _cells(totals, "couponed"),
        "coupon_last_purchase": _cells(totals, "time"),
    }


def _category_cells(known: pd.DataFrame) -> dict[str, pd.DataFrame]:
    totals = _summed(known.drop(columns=["product", "department"]), ["household", "category"])
    totals["key"] = slugs(totals["category"])
    return {
        "category_purchases_90d": _cells(totals, "purchases_90d"),
        "category_spend_90d": _cells(totals, "spend_90d"),
        "category_last_purchase": _cells(totals, "time"),
    }


def _department_shares(known: pd.DataFrame) -> pd.DataFrame:
    totals = known.groupby(["household", "department"], observed=True)["spend_90d"].sum().reset_index()
    whole = totals.groupby("household")["spend_90d"].transform("sum")
    totals["share"] = totals["spend_90d"] / whole.where(whole > 0)
    totals["key"] = totals["department"].map(slug).astype(str)
    return _cells(totals.dropna(subset="share"), "share")


def _cells(totals: pd.DataFrame, column: str) -> pd.DataFrame:
    """Leaves the zero cells out: they say the same as no cell, and there are many."""
    values = totals[column]
    told = totals if column == "time" else totals[values != 0]
    return told[["household", "key", column]].rename(columns={column: "value"}).reset_index(drop=True)
