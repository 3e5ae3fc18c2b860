import numpy as np
import pytest

from server.domain.errors import OpportuneError
from server.domain.offer_table import OfferTable, infer_schema
from server.intelligence.ordering import sort_key
from tests.support.catalogs import offer

LAID_OUT, FITTING, _ = infer_schema(
    [
        offer("a", attributes={"distance": 3.0, "kind": "x"}),
        offer("b"),
        offer("c", attributes={"distance": -1.0}),
    ]
)
OFFERS = OfferTable.of(FITTING, LAID_OUT)
KEYS = {
    "expected_value": np.array([1.0, 2.0, 3.0]),
    "propensity": np.array([0.5, 0.25, 0.75]),
    "value": np.array([9.0, 8.0, 7.0]),
}
ALL = np.arange(3)


@pytest.mark.parametrize("field", ["expected_value", "propensity", "value"])
def test_field_sorts_ascending_unless_it_says_desc(field: str) -> None:
    assert sort_key(field, KEYS, OFFERS, ALL).tolist() == (-KEYS[field]).tolist()
    assert sort_key(f"{field} desc", KEYS, OFFERS, ALL).tolist() == KEYS[field].tolist()


def test_offers_without_the_attribute_come_last_either_way() -> None:
    assert sort_key("offer.distance", KEYS, OFFERS, ALL).tolist() == [-3.0, -np.inf, 1.0]
    assert sort_key("offer.distance desc", KEYS, OFFERS, ALL).tolist() == [3.0, -np.inf, -1.0]


def test_only_the_eligible_offers_have_keys() -> None:
    assert sort_key("offer.distance desc", KEYS, OFFERS, np.array([2, 0])).tolist() == [-1.0, 3.0]


@pytest.mark.parametrize(
    "order_by",
    [
        "price",
        "offer.kind",
        "offer.price",
        "offer.",
        "value asc",
        "value desc, propensity",
        " value",
        "VALUE",
        "value\n",
    ],
)
def test_order_that_does_not_exist_is_refused(order_by: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        sort_key(order_by, KEYS, OFFERS, ALL)

    assert refused.value.violations[0].field == "order_by"
