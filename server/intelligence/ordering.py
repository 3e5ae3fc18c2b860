"""`order_by`: other orders than the default one."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import AttributeType, IntRow
from server.domain.errors import invalid_field
from server.domain.offer_table import OfferTable

_ORDER = re.compile(r"(expected_value|propensity|value|offer\.(\w+))( desc)?")


def sort_key(
    order_by: str, keys: Mapping[str, NDArray[np.float64]], offers: OfferTable, eligible: IntRow
) -> NDArray[np.float64]:
    """The key by which the eligible offers are sorted, largest first: float64 [eligible], finite or -inf.

    Args:
        order_by: What the request says (AIP-132): a field, ascending unless ` desc` follows.
        keys: float64 [eligible] for each of expected_value, propensity and value.

    Raises:
        OpportuneError: INVALID_FIELD for an order that does not exist.
    """
    match = _ORDER.fullmatch(order_by)
    if match is None:
        fields = "expected_value, propensity, value or offer.<number attribute>"
        raise invalid_field("order_by", f"takes {fields}, with ` desc` for the largest first")
    field, attribute, descending = match.groups()
    key = keys[field] if attribute is None else _attribute_values(attribute, offers, eligible)
    key = key if descending else -key
    # Offers without the attribute come last either way.
    return np.where(np.isnan(key), -np.inf, key)


def _attribute_values(name: str, offers: OfferTable, eligible: IntRow) -> NDArray[np.float64]:
    attribute = offers.schema.by_id.get(name)
    if attribute is None or attribute.type is not AttributeType.NUMBER:
        raise invalid_field("order_by", f"offer.{name} is not a number that the catalog's offers have")
    values: NDArray[np.float64] = offers.attributes[offers.schema.columns[name], eligible].astype(np.float64)
    return values
