import numpy as np

from server.domain.attribute import Attribute, AttributeType, Value
from server.domain.profile import AttributeUpdates
from server.input.deltas import compile_updates
from server.input.profiles import BLOCK_ROWS, MAX_PURPOSES, ProfileTable
from tests.support.catalogs import category, keyed, number, schema, text_set

VISITS = number("visits")
INCOME = Attribute("income", AttributeType.NUMBER, purpose="personalization")
DISTANCE = Attribute("distance", AttributeType.NUMBER, purpose="location")


def table(*attributes: Attribute) -> ProfileTable:
    return ProfileTable(schema(*(attributes or (VISITS, INCOME, DISTANCE))))


def put(
    profiles: ProfileTable, customer_id: str, version: int = 1, time_days: float = 0.0, **values: float | str
) -> None:
    profiles.update(customer_id, compile_updates(AttributeUpdates(set=values), profiles.schema), version, time_days)


def values(profiles: ProfileTable, customer_id: str) -> list[float]:
    row = profiles.read(customer_id)
    assert row is not None
    return [float(value) for value in row.values]


def unreadable(profiles: ProfileTable, customer_id: str) -> list[int]:
    row = profiles.read(customer_id)
    assert row is not None
    return [int(column) for column in row.unreadable]


def test_unknown_customer_has_no_row() -> None:
    assert table().read("nobody") is None


def test_new_customer_has_what_was_set_and_misses_the_rest() -> None:
    profiles = table()

    put(profiles, "a", visits=2.0)

    np.testing.assert_array_equal(values(profiles, "a"), [2.0, np.nan, np.nan])


def test_customers_do_not_share_rows() -> None:
    profiles = table()

    put(profiles, "a", visits=1.0)
    put(profiles, "b", visits=2.0)

    assert (values(profiles, "a")[0], values(profiles, "b")[0], len(profiles)) == (1.0, 2.0, 2)


def test_rows_survive_the_growth_of_the_table() -> None:
    profiles = table(VISITS)
    for customer in range(BLOCK_ROWS + 2):
        profiles.update(
            str(customer), compile_updates(AttributeUpdates(set={"visits": float(customer)}), profiles.schema), 1, 0.0
        )

    assert len(profiles) == BLOCK_ROWS + 2
    for customer in (0, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1):
        assert values(profiles, str(customer)) == [float(customer)]


def test_version_is_that_of_the_last_change_and_time_the_latest() -> None:
    profiles = table()

    put(profiles, "a", version=1, time_days=10.0, visits=1.0)
    put(profiles, "a", version=2, time_days=5.0, visits=2.0)

    row = profiles.read("a")
    assert row is not None
    assert (row.version, profiles.update_days("a")) == (2, 10.0)


def test_columns_of_purposes_that_were_not_granted_are_unreadable() -> None:
    profiles = table()
    put(profiles, "a", visits=1.0)

    assert unreadable(profiles, "a") == [1, 2]


def test_consent_opens_the_columns_of_its_purpose_alone_until_it_is_withdrawn() -> None:
    profiles = table()

    profiles.record_consent("a", "personalization", True, 1, 0.0)
    granted = unreadable(profiles, "a")
    profiles.record_consent("a", "personalization", False, 2, 0.0)

    assert granted == [2]
    assert unreadable(profiles, "a") == [1, 2]


def test_consent_of_one_customer_is_not_that_of_another() -> None:
    profiles = table()

    profiles.record_consent("a", "personalization", True, 1, 0.0)
    profiles.record_consent("b", "location", True, 2, 0.0)

    assert (unreadable(profiles, "a"), unreadable(profiles, "b")) == ([2], [1])


def test_consents_tell_refused_from_never_asked() -> None:
    profiles = table()

    profiles.record_consent("a", "location", False, 1, 0.0)

    assert profiles.consents("a") == {"location": False}


def test_consents_survive_another_schema_with_other_purposes() -> None:
    profiles = table()
    profiles.record_consent("a", "personalization", True, 1, 0.0)

    profiles.relayout(schema(Attribute("age", AttributeType.NUMBER, purpose="advertising"), INCOME))

    assert unreadable(profiles, "a") == [0]
    assert profiles.consents("a") == {"personalization": True}


def test_relayout_moves_columns_by_name() -> None:
    profiles = table(VISITS, INCOME)
    put(profiles, "a", visits=1.0, income=2.0)

    profiles.relayout(schema(number("new"), INCOME, VISITS))

    np.testing.assert_array_equal(values(profiles, "a"), [np.nan, 2.0, 1.0])


def test_relayout_recodes_categories_by_value_and_forgets_values_that_are_gone() -> None:
    profiles = table(category("tier", "basic", "silver", "gold"))
    put(profiles, "a", tier="gold")
    put(profiles, "b", tier="silver")
    profiles.update("c", [], 1, 0.0)

    profiles.relayout(schema(category("tier", "gold", "platinum", "basic")))

    np.testing.assert_array_equal([values(profiles, each)[0] for each in "abc"], [0.0, np.nan, np.nan])


def test_relayout_drops_an_attribute_that_changed_its_type() -> None:
    profiles = table(number("tier"))
    put(profiles, "a", tier=1.0)

    profiles.relayout(schema(category("tier", "basic", "gold")))

    assert np.isnan(values(profiles, "a")[0])


def test_relayout_keeps_the_cells_of_keys_that_stay() -> None:
    profiles = table(keyed("spend", "department", "grocery", "floral"))
    values_set: dict[str, Value] = {"spend.grocery": 1.0, "spend.floral": 2.0}
    profiles.update("a", compile_updates(AttributeUpdates(set=values_set), profiles.schema), 1, 0.0)

    profiles.relayout(schema(keyed("spend", "department", "floral", "tools")))

    np.testing.assert_array_equal(values(profiles, "a"), [2.0, np.nan])


def test_new_customers_after_a_relayout_have_the_new_width() -> None:
    profiles = table(VISITS)
    put(profiles, "a", visits=1.0)

    profiles.relayout(schema(VISITS, number("new")))
    put(profiles, "b", new=3.0)

    np.testing.assert_array_equal(values(profiles, "b"), [np.nan, 3.0])


def test_relayout_keeps_a_set_that_gained_a_member() -> None:
    profiles = table(text_set("tags", "vegan"))
    profiles.update("a", compile_updates(AttributeUpdates(set={"tags": ("vegan",)}), profiles.schema), 1, 0.0)

    profiles.relayout(schema(text_set("tags", "vegan", "parent")))

    assert values(profiles, "a") == [1.0]


def test_purposes_of_catalogs_before_do_not_use_up_the_bits() -> None:
    profiles = table()

    for number_ in range(MAX_PURPOSES + 1):
        attribute = Attribute("income", AttributeType.NUMBER, purpose=f"purpose{number_}")
        profiles.relayout(schema(attribute))
        profiles.record_consent("a", f"purpose{number_}", True, 1, 0.0)

    assert profiles.consents("a")[f"purpose{MAX_PURPOSES}"]
