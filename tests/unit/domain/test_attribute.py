from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from server.domain.attribute import EPOCH, MEMBERS_PER_COLUMN, Attribute, AttributeType, days_since_epoch
from tests.support.catalogs import category, count, decayed, keyed, last, number, schema, text, text_set, timestamp

MANY = tuple(f"member{place}" for place in range(MEMBERS_PER_COLUMN * 2 + 1))


def test_days_count_from_the_first_of_january_2020() -> None:
    assert days_since_epoch(EPOCH + timedelta(days=1, hours=12)) == 1.5
    assert days_since_epoch(datetime(2019, 12, 31, tzinfo=UTC)) == -1.0


def test_plain_attribute_takes_one_column() -> None:
    assert number("visits").column_names() == ["visits"]


def test_keyed_attribute_takes_a_column_for_each_key() -> None:
    assert keyed("spend", "department", "grocery", "floral").column_names() == ["spend.grocery", "spend.floral"]


@pytest.mark.parametrize(("members", "columns"), [(0, 1), (1, 1), (24, 1), (25, 2), (48, 2), (49, 3)])
def test_set_takes_a_column_for_each_24_members(members: int, columns: int) -> None:
    assert len(text_set("tags", *MANY[:members]).column_names()) == columns


def test_columns_stand_in_the_order_of_their_attributes() -> None:
    laid_out = schema(number("visits"), keyed("spend", "department", "grocery", "floral"), category("tier", "gold"))

    assert dict(laid_out.columns) == {"visits": 0, "spend.grocery": 1, "spend.floral": 2, "tier": 3}
    assert laid_out.width == 4
    assert [attribute.id for attribute in laid_out.attribute_of_column] == ["visits", "spend", "spend", "tier"]


def test_only_timestamps_are_age_columns() -> None:
    assert schema(number("visits"), timestamp("seen"), timestamp("bought")).age_columns.tolist() == [1, 2]


def test_every_member_of_a_set_has_a_bit_of_its_own_that_float32_holds_exactly() -> None:
    laid_out = schema(text_set("tags", *MANY))

    places = [laid_out.member(laid_out.by_id["tags"], value) for value in MANY]

    assert len(set(places)) == len(MANY)
    assert all(int(np.float32(bit)) == bit for _, bit in places)


def test_all_members_of_a_column_together_are_exact_in_float32() -> None:
    everything = (1 << MEMBERS_PER_COLUMN) - 1

    assert int(np.float32(everything)) == everything


def test_member_that_a_set_does_not_declare_is_a_key_error() -> None:
    laid_out = schema(text_set("tags", "vegan"))

    with pytest.raises(KeyError):
        laid_out.member(laid_out.by_id["tags"], "parent")


def test_columns_without_a_granted_purpose_are_named() -> None:
    income = Attribute("income", AttributeType.NUMBER, purpose="personalization")
    address = Attribute("distance", AttributeType.NUMBER, purpose="location")
    laid_out = schema(number("visits"), income, address)

    assert laid_out.purposes == ("location", "personalization")
    assert laid_out.columns_without(frozenset()).tolist() == [1, 2]
    assert laid_out.columns_without(frozenset({"location"})).tolist() == [1]
    assert laid_out.columns_without(frozenset({"location", "personalization"})).tolist() == []


def test_schema_without_attributes_has_no_columns() -> None:
    assert schema().width == 0
    assert schema().age_columns.tolist() == []


def test_columns_of_aggregates_stand_behind_those_that_deltas_may_set() -> None:
    laid_out = schema(
        count("n", "purchase"), number("visits"), decayed("d", "purchase", "amount", 5.0, by="x", keys=("k",)),
        text("email"), text_set("tags", "a"),
    )  # fmt: skip

    assert list(laid_out.columns) == ["visits", "tags", "n", "d.k", "d#time"]
    assert (laid_out.settable_width, laid_out.width) == (2, 5)
    assert [attribute.id for attribute in laid_out.attribute_of_column] == ["visits", "tags", "n", "d", "d"]
    assert list(laid_out.plain) == ["visits"]


def test_columns_of_a_purpose_are_closed_with_everything_that_belongs_to_them() -> None:
    laid_out = schema(number("visits"), decayed("d", "purchase", "amount", 5.0, purpose="p"))

    assert laid_out.columns_without(frozenset()).tolist() == [1, 2]
    assert laid_out.columns_without(frozenset({"p"})).tolist() == []


def test_last_times_are_read_as_ages() -> None:
    assert schema(number("visits"), last("l", "purchase")).age_columns.tolist() == [1]
