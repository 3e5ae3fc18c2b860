"""A grocer small enough to check by hand: four households, three products, three campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset

UNTIL = date(2017, 10, 30)
COUPON_PIZZA, COUPON_SOAP = 501, 502
PIZZA, SOAP, APPLE = 1, 2, 3

_CAMPAIGNS = [
    (1, "B", "2017-03-01", "2017-04-01"),
    (2, "A", "2017-06-01", "2017-07-15"),
    (3, "C", "2017-09-01", "2017-12-01"),
]
_RECEIPTS = [
    # household, basket, product, spend, shelf discount, coupon discount, time
    (10, 100, PIZZA, 4.0, 1.0, 0.0, "2017-02-01 10:00"),
    (10, 101, PIZZA, 3.0, 0.0, 1.0, "2017-05-20 18:30"),
    (10, 101, APPLE, 2.0, 0.0, 0.0, "2017-05-20 18:30"),
    (11, 102, SOAP, 5.0, 0.5, 0.0, "2017-05-30 09:00"),
    (11, 103, SOAP, 5.5, 0.0, 0.5, "2017-08-20 09:00"),
    (12, 104, APPLE, 1.5, 0.0, 0.0, "2017-08-31 23:59"),
]
_REDEMPTIONS = [
    (10, COUPON_PIZZA, 1, "2017-03-10"),
    (11, COUPON_SOAP, 2, "2017-06-20"),
    (10, COUPON_PIZZA, 2, "2017-07-01"),
    (12, COUPON_PIZZA, 3, "2017-09-15"),
]


def grocer() -> Dataset:
    """The whole data set, cut at `UNTIL`."""
    recipients = [(1, 10), (1, 11), (2, 10), (2, 11), (2, 12), (3, 12), (3, 13)]
    coupons = [(campaign, COUPON_PIZZA, PIZZA) for campaign in (1, 2, 3)]
    coupons += [(campaign, COUPON_SOAP, SOAP) for campaign in (2, 3)]
    return Dataset(
        until=UNTIL,
        campaigns=_dated(_CAMPAIGNS, ["campaign", "type", "start", "end"], ["start", "end"]),
        recipients=pd.DataFrame(recipients, columns=["campaign", "household"]),
        coupons=pd.DataFrame(coupons, columns=["campaign", "coupon", "product"]),
        redemptions=redemptions(_REDEMPTIONS),
        products=_products(),
        transactions=receipts(_RECEIPTS),
        demographics=_demographics(),
    )


def receipts(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    names = ["household", "basket", "product", "spend", "shelf_discount", "coupon_discount", "time"]
    return _dated(rows, names, ["time"]).assign(store=7, quantity=1)


def redemptions(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    return _dated(rows, ["household", "coupon", "campaign", "day"], ["day"])


def _dated(rows: Sequence[tuple[object, ...]], names: list[str], dates: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=names)
    return table.assign(**{name: pd.to_datetime(table[name]) for name in dates})


def _products() -> pd.DataFrame:
    rows = [
        (PIZZA, 69, "GROCERY", "FROZEN PIZZA", True),
        (SOAP, 70, "DRUG GM", "SOAP - LIQUID & BAR", False),
        (APPLE, 71, "PRODUCE", "APPLES", False),
    ]
    table = pd.DataFrame(rows, columns=["product", "manufacturer", "department", "category", "private"])
    return table.astype({"department": "category", "category": "category"})


def _demographics() -> pd.DataFrame:
    bands = {
        "age": "45-54",
        "income": "50-74K",
        "household_size": "2",
        "kids_count": "0",
        "home_ownership": None,
        "marital_status": "Married",
    }
    return pd.DataFrame([{"household": 10, **bands}])
