"""The catalog document: the offers of a day with their value, conditions, schedule and creatives.

The document is plain data, ready for YAML or JSON, in the format of the catalog file.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from model_artifacts.complete_journey import economics, offers, schema
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.identifiers import offer_id
from model_artifacts.complete_journey.wording import title

Document = dict[str, Any]

DEFAULT_MODEL = "coupon-boosted/2"
CHANNELS = ("web", "email")
TEXTS = ("coupon", "campaign", "campaign_type", "department", "category", "manufacturer", "brand")
NUMBERS = (
    *("discount", "price", "products", "categories", "private_label_share", "discounted_share"),
    *("households_90d", "coupon_rate", "category_rate", "type_rate"),
    *("campaign_days", "campaign_coupons", "campaign_households"),
)


def document(dataset: Dataset, day: date, campaigns: list[int] | None = None, model: str = DEFAULT_MODEL) -> Document:
    """The catalog as of the morning of `day`, from rows dated before it.

    `campaigns` defaults to those running that day. Raises ValueError when they have no coupon.
    """
    chosen = offers.running(dataset, day) if campaigns is None else campaigns
    if not dataset.coupons["campaign"].isin(chosen).any():
        raise ValueError(f"no campaign with coupons runs on {day}")
    table = offers.attributes(dataset, day, chosen)
    started = dataset.campaigns.loc[dataset.campaigns["start"] <= np.datetime64(day), "campaign"]
    return {
        "currency": "USD",
        "assumptions": economics.assumptions(),
        "attributes": schema.declarations([str(campaign) for campaign in sorted(started)]),
        "offer_attributes": [
            *({"id": name, "type": "category"} for name in TEXTS),
            *({"id": name, "type": "number"} for name in NUMBERS),
        ],
        "offers": [_offer(row) for row in table.to_dict("records")],
        "placements": [
            {"id": "checkout-web", "channel": "web", "slots": 3, "model": model},
            {"id": "weekly-email", "channel": "email", "slots": 5, "model": model},
        ],
    }


def _offer(row: dict[str, Any]) -> Document:
    identifier = offer_id(row["campaign"], row["coupon"])
    content = {"title": title(row["discount"], row["category_name"])}
    return {
        "id": identifier,
        "tactic": "discount",
        "value": _value(row),
        "attributes": _attributes(row),
        "eligible": _condition(row),
        "schedule": {"start": _iso(row["start"]), "end": _iso(row["end"] + timedelta(days=1))},
        "channels": list(CHANNELS),
        "creatives": [
            {"id": f"{identifier}-{channel}", "channel": channel, "content": dict(content)} for channel in CHANNELS
        ],
    }


def _value(row: dict[str, Any]) -> dict[str, float]:
    return {
        "revenue": round(float(row["revenue"]), 2),
        "margin": economics.margin(row["department"]),
        "cost": economics.cost(float(row["discount"]), float(row["private_label_share"])),
    }


def _attributes(row: dict[str, Any]) -> dict[str, str | float]:
    """A number that is not known is left out: the server reads it as missing."""
    texts = {name: str(row[name]) for name in TEXTS}
    numbers = {name: round(float(row[name]), 6) for name in NUMBERS if not np.isnan(row[name])}
    return {**texts, **numbers}


def _condition(row: dict[str, Any]) -> str:
    """Who may get the coupon: who was sent the campaign and still shops here.

    The retailer pays for its private label itself, so only households that shopped within the month get
    those; a large discount asks for a household that spends more than the occasional visitor.
    """
    received = f'"{row["campaign"]}" in customer.campaigns && customer.last_purchase <= 90'
    if row["brand"] == "private":
        return f"{received} && customer.baskets_30d >= 1"
    if row["discount"] >= _LARGE_DISCOUNT:
        return f"{received} && customer.spend_90d > 50"
    return received


_LARGE_DISCOUNT = 2.0  # dollars


def _iso(moment: pd.Timestamp) -> str:
    return str(moment.date().isoformat())
