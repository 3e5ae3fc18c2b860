"""What a redeemed coupon is assumed to earn: the data set has prices and discounts, but no margin and no cost.

Every figure here is an assumption. They are written into the catalog under `assumptions`, so that whoever
reads an expected value can see what it stands on.
"""

from __future__ import annotations

MARGINS: dict[str, float] = {
    "grocery": 0.26,
    "drug-gm": 0.31,
    "cosmetics": 0.36,
    "produce": 0.38,
    "meat": 0.28,
    "meat-pckgd": 0.27,
    "seafood": 0.28,
    "seafood-pckgd": 0.28,
    "deli": 0.45,
    "pastry": 0.45,
    "salad-bar": 0.50,
    "floral": 0.45,
    "nutrition": 0.32,
    "garden-center": 0.35,
    "spirits": 0.22,
}
"""Gross margin per department slug, as a share of what the retailer gets for the products."""

MARGIN_ELSEWHERE = 0.28
HANDLING_COST = 0.10  # dollars: sorting, clearing and posting one redeemed coupon
FALLBACK_REVENUE = 3.99  # dollars: the panel's mean sale of a redeemed coupon's products
FALLBACK_DISCOUNT = 1.00  # dollars: the panel's median coupon discount


def margin(department: str) -> float:
    return MARGINS.get(department, MARGIN_ELSEWHERE)


def cost(discount: float, private_label_share: float) -> float:
    """Dollars that the retailer pays for one redemption.

    A national brand's maker refunds the discount, so that only the handling stays with the retailer; the
    discount on a private label is the retailer's own.
    """
    return round(HANDLING_COST + discount * private_label_share, 2)


def assumptions() -> dict[str, str]:
    """The assumptions as the catalog states them."""
    table = ", ".join(f"{department} {share:.2f}" for department, share in sorted(MARGINS.items()))
    return {
        "margin": (
            f"Gross margin by department, of which the data says nothing: {table}, elsewhere {MARGIN_ELSEWHERE:.2f}."
        ),
        "cost": (
            f"National-brand coupons are refunded by the maker and cost ${HANDLING_COST:.2f} of handling; "
            "private-label coupons also cost their discount, mixed ones the private-label share of it."
        ),
        "revenue": (
            "What one basket with the coupon's products brought from them, the mean before the catalog's day, "
            f"drawn towards the category's where baskets are few; ${FALLBACK_REVENUE:.2f} without any history."
        ),
        "discount": (
            "The median coupon discount seen on the coupon's products before the catalog's day, else on its "
            f"category, else ${FALLBACK_DISCOUNT:.2f}: the data does not say what a coupon is worth."
        ),
    }
