from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from server.domain.attribute import Attribute, AttributeType, Schema, Value, days_since_epoch
from server.domain.contact import ContactKind, HistoryVariable
from server.domain.errors import OpportuneError
from server.domain.profile import AttributeUpdates, ConsentUpdate
from server.input.profiles import ProfileRow, ProfileTable
from server.input.variables import VariableReader
from tests.support.catalogs import boolean, category, number, schema, text_set, timestamp
from tests.support.clock import NOON
from tests.support.tables import change

CUSTOMER = schema(number("visits"), timestamp("last_visit"), Attribute("income", AttributeType.NUMBER, purpose="p"))
CHANNEL = category("channel", "web", "email")
CONTEXT = schema(CHANNEL, number("hour"), boolean("vip"))
NOW = days_since_epoch(NOON)


def profile(consent: bool = False, **values: Value) -> ProfileRow | None:
    profiles = ProfileTable(CUSTOMER)
    change(profiles, "a", AttributeUpdates(set=values))
    change(profiles, "a", ConsentUpdate("p", consent))
    return profiles.read("a")


def read(
    row: ProfileRow | None, attributes: Mapping[str, Value], laid_out: Schema = CONTEXT, channel: str = "web"
) -> list[float]:
    return [float(value) for value in VariableReader(CUSTOMER, laid_out).read(row, channel, attributes, NOW)]


def test_new_customer_in_an_empty_context_has_a_channel_and_nothing_else() -> None:
    np.testing.assert_array_equal(read(None, {}), [np.nan, np.nan, np.nan, 0.0, np.nan, np.nan, np.nan])


def test_variables_are_customer_then_context_then_one_that_is_always_missing() -> None:
    row = profile(visits=3.0)

    np.testing.assert_array_equal(
        read(row, {"hour": 12.0, "vip": True}, channel="email"), [3.0, np.nan, np.nan, 1.0, 12.0, 1.0, np.nan]
    )


def test_timestamp_is_read_as_days_before_now() -> None:
    row = profile(last_visit=NOON - timedelta(days=7, hours=12))

    assert read(row, {})[1] == pytest.approx(7.5, abs=1e-3)


def test_attribute_without_consent_is_missing() -> None:
    assert np.isnan(read(profile(income=9.0), {})[2])
    assert read(profile(income=9.0, consent=True), {})[2] == 9.0


def test_reading_leaves_the_row_alone() -> None:
    row = profile(visits=3.0, last_visit=NOON, income=9.0)
    assert row is not None
    before = row.values.copy()

    read(row, {"hour": 1.0})

    np.testing.assert_array_equal(row.values, before)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"hours": 1.0}, "did you mean hour?"),
        ({"hour": "noon"}, "takes a number"),
        ({"hour": float("nan")}, "finite"),
        ({"hour": float("inf")}, "finite"),
        ({"hour": 1e300}, "32-bit"),
        ({"hour": True}, "takes a number"),
        ({"channel": "email"}, "not a context attribute"),
        ({"vip": "yes"}, "takes a truth value"),
    ],
)
def test_context_that_does_not_fit_is_refused_with_its_path(context: Mapping[str, Value], words: str) -> None:
    with pytest.raises(OpportuneError, match=words.replace("?", r"\?")) as refused:
        read(None, context)

    assert refused.value.violations[0].field == f'context.attributes["{next(iter(context))}"]'


def test_timestamp_of_the_context_is_read_as_an_age_too() -> None:
    variables = read(None, {"cart_time": NOON - timedelta(days=2)}, schema(CHANNEL, timestamp("cart_time")))

    assert variables[CUSTOMER.width + 1] == pytest.approx(2.0, abs=1e-3)


def test_further_columns_of_a_large_set_are_not_attributes_of_the_context() -> None:
    many = schema(CHANNEL, text_set("cart", *(f"product{n}" for n in range(30))))

    with pytest.raises(OpportuneError):
        read(None, {"cart#1": ("product1",)}, many)


def test_history_stands_behind_what_is_always_missing() -> None:
    asked = [HistoryVariable(ContactKind.CLICK, 7), HistoryVariable(ContactKind.CLICK, None)]
    reader = VariableReader(CUSTOMER, CONTEXT, asked)

    without = reader.read(None, "web", {}, NOW)
    of_somebody = reader.read(None, "web", {"hour": 1.0}, NOW, history=np.array([3, 0.5], np.float32))

    np.testing.assert_array_equal(without[-3:], [np.nan, 0.0, np.nan])
    np.testing.assert_array_equal(of_somebody[-3:], [np.nan, 3.0, 0.5])
    assert len(without) == CUSTOMER.width + CONTEXT.width + 1 + 2
