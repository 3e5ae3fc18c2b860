from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from model_artifacts.complete_journey import affinities, households
from tests.unit.model_artifacts import journey

DAY = date(2017, 6, 1)


def test_windows_count_days_before_the_day() -> None:
    row = households.attributes(journey.grocer(), DAY).loc[10]

    assert (row["baskets_30d"], row["baskets_90d"]) == (1, 1)
    assert (row["spend_30d"], row["spend_90d"]) == (5.0, 5.0)
    assert (row["products_90d"], row["categories_90d"]) == (2, 2)
    assert row["private_label_share_90d"] == pytest.approx(0.6)
    assert row["discount_share_90d"] == pytest.approx(1 / 6)
    assert (row["coupon_baskets_90d"], row["coupon_discount_90d"]) == (1, 1.0)
    assert row["last_purchase"] == pd.Timestamp("2017-05-20 18:30")


def test_redemption_history_is_smoothed() -> None:
    row = households.attributes(journey.grocer(), DAY).loc[10]

    assert (row["redemptions_180d"], row["redeemed_campaigns_180d"]) == (1, 1)
    assert row["campaigns_received_180d"] == 1
    assert row["redemption_rate_180d"] == pytest.approx(1.5 / 6)
    assert row["age"] == "45-54"


def test_household_without_purchases_has_counts_of_zero_and_no_shares() -> None:
    row = households.attributes(journey.grocer(), DAY).loc[12]

    assert row["baskets_90d"] == 0
    assert pd.isna(row["private_label_share_90d"])
    assert pd.isna(row["last_purchase"])


def test_campaign_starting_on_the_day_is_known_to_have_been_received() -> None:
    received = households.memberships(journey.grocer(), DAY)

    assert received.to_numpy().tolist() == [[10, 1], [10, 2], [11, 1], [11, 2], [12, 2]]


def test_cells_are_kept_where_there_is_something_to_tell() -> None:
    data = journey.grocer()
    coupons = data.coupons[data.coupons["campaign"] == 2]

    cells = affinities.cells(data, DAY, coupons, {"frozen-pizza"}, {"grocery", "produce"})

    spend = cells["coupon_spend"].to_numpy().tolist()
    assert spend == [[10, "501", 7.0], [11, "502", 5.0]]
    assert cells["coupon_spend_90d"].to_numpy().tolist() == [[10, "501", 3.0], [11, "502", 5.0]]
    assert cells["coupon_discounted_purchases"].to_numpy().tolist() == [[10, "501", 1.0]]
    assert cells["category_purchases_90d"].to_numpy().tolist() == [[10, "frozen-pizza", 1.0]]
    shares = {(row.household, row.key): row.value for row in cells["department_spend_share"].itertuples()}
    assert shares == {(10, "grocery"): pytest.approx(0.6), (10, "produce"): pytest.approx(0.4)}
