"""The attributes of a household as a catalog declares them: what a profile delta may set, and its type."""

from __future__ import annotations

import re
from typing import Any

from model_artifacts.complete_journey.households import BANDS

_PURPOSE = "personalization"

TIMESTAMPS = ("last_purchase", "last_redemption")
NUMBERS = (
    *("baskets_30d", "baskets_90d", "spend_30d", "spend_90d", "basket_average_90d"),
    *("products_90d", "categories_90d", "stores_90d"),
    *("private_label_share_90d", "discount_share_90d", "coupon_baskets_90d", "coupon_discount_90d"),
    *("redemptions_180d", "redeemed_campaigns_180d", "campaigns_received_180d", "redemption_rate_180d"),
)
KEYED_NUMBERS = {
    "coupon_purchases": "coupon",
    "coupon_purchases_90d": "coupon",
    "coupon_spend": "coupon",
    "coupon_spend_90d": "coupon",
    "coupon_products": "coupon",
    "coupon_discounted_purchases": "coupon",
    "category_purchases_90d": "category",
    "category_spend_90d": "category",
    "department_spend_share": "department",
}
KEYED_TIMESTAMPS = {"coupon_last_purchase": "coupon", "category_last_purchase": "category"}


def declarations(campaigns: list[str]) -> list[dict[str, Any]]:
    """The catalog's `attributes`; `campaigns` are the ids that a household may have received."""
    single: list[dict[str, Any]] = [
        *({"id": name, "type": "timestamp_age"} for name in TIMESTAMPS),
        *({"id": name, "type": "number"} for name in NUMBERS),
        *({"id": name, "type": "category", "values": values} for name, values in BANDS.items()),
        {"id": "campaigns", "type": "set", "values": campaigns},
    ]
    keyed: list[dict[str, Any]] = [
        *({"id": name, "type": "number", "by": by} for name, by in KEYED_NUMBERS.items()),
        *({"id": name, "type": "timestamp_age", "by": by} for name, by in KEYED_TIMESTAMPS.items()),
    ]
    return [{**declaration, "purpose": _PURPOSE} for declaration in (*single, *keyed)]


OFFER_BANDS: dict[str, list[str]] = {"campaign_type": ["A", "B", "C"]}
"""The offer attributes that models read as a position among values."""

_ATTRIBUTE = re.compile(r"(customer|offer)\.(\w+)")


def feature_type(feature: str) -> dict[str, Any]:
    """How the manifest declares a feature: its name, its type and, for a category, its values in order."""
    match = _ATTRIBUTE.match(feature)
    if match is None:
        raise ValueError(f"not a feature: {feature}")
    scope, name = match.groups()
    bands = (BANDS if scope == "customer" else OFFER_BANDS).get(name)
    if bands is not None:
        return {"name": feature, "type": "category", "values": bands}
    aged = scope == "customer" and name in (*TIMESTAMPS, *KEYED_TIMESTAMPS)
    return {"name": feature, "type": "timestamp_age" if aged else "number"}
