from __future__ import annotations

import json
import re
from datetime import date

import pytest
import yaml

from model_artifacts.complete_journey import catalog, offers
from model_artifacts.complete_journey.wording import title
from tests.unit.model_artifacts import journey

_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


def test_offers_are_the_coupons_of_the_running_campaigns() -> None:
    document = catalog.document(journey.grocer(), date(2017, 9, 1))

    assert [offer["id"] for offer in document["offers"]] == ["c3-501", "c3-502"]
    assert offers.running(journey.grocer(), date(2017, 12, 1)) == [3]
    assert offers.running(journey.grocer(), date(2017, 12, 2)) == []


def test_offer_states_value_condition_schedule_and_creatives() -> None:
    pizza, soap = catalog.document(journey.grocer(), date(2017, 9, 1))["offers"]

    assert pizza["attributes"]["department"] == "grocery"
    assert pizza["attributes"]["category"] == "frozen-pizza"
    assert pizza["attributes"]["brand"] == "private"
    assert pizza["value"]["cost"] == pytest.approx(1.10)
    assert soap["value"]["cost"] == pytest.approx(0.10)
    assert pizza["schedule"] == {"start": "2017-09-01", "end": "2017-12-02"}
    assert pizza["eligible"].startswith('"3" in customer.campaigns && customer.last_purchase <= 90')
    assert pizza["creatives"][0]["content"] == {"title": "Save $1.00 on frozen pizza"}
    assert {creative["channel"] for creative in pizza["creatives"]} == {"web", "email"}


def test_document_is_plain_data_with_valid_ids() -> None:
    document = catalog.document(journey.grocer(), date(2017, 9, 1))

    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert json.loads(json.dumps(document)) == document
    for entry in (*document["attributes"], *document["offers"], *document["placements"]):
        assert _ID.fullmatch(entry["id"])


def test_number_that_is_not_known_is_left_out() -> None:
    (pizza,) = catalog.document(journey.grocer(), date(2017, 1, 1), [1])["offers"]

    assert "price" not in pizza["attributes"]
    assert pizza["value"]["revenue"] == pytest.approx(3.99)
    assert pizza["attributes"]["discount"] == 1.0


def test_day_without_campaigns_is_refused() -> None:
    with pytest.raises(ValueError, match="no campaign"):
        catalog.document(journey.grocer(), date(2017, 5, 1))


def test_titles_are_readable() -> None:
    assert title(0.5, "FRZN POTATOES") == "Save $0.50 on frozen potatoes"
    assert title(2, "WATER - CARBONATED/FLVRD DRINK") == "Save $2.00 on sparkling water"
