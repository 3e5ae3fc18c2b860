from datetime import timedelta

import numpy as np
import pytest

from server.domain.attribute import Attribute, AttributeType, Schema
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event
from server.input.profiles import MAX_PURPOSES, ProfileTable
from server.input.relayout import relayout
from tests.support.catalogs import category, count, decayed, keyed, last, number, schema, text_set, total
from tests.support.clock import NOON, us_ago
from tests.support.tables import attributes, change, link, put, table, unlink, unreadable_of, values_of

VISITS = number("visits")
INCOME = Attribute("income", AttributeType.NUMBER, purpose="personalization")
DISTANCE = Attribute("distance", AttributeType.NUMBER, purpose="location")


def test_consents_survive_another_schema_with_other_purposes() -> None:
    profiles = table(VISITS, INCOME, DISTANCE)
    change(profiles, "a", ConsentUpdate("personalization", True))

    relayout(profiles, schema(Attribute("age", AttributeType.NUMBER, purpose="advertising"), INCOME))

    assert unreadable_of(profiles, "a") == [0]
    assert profiles.consents(profiles.find("a")) == {"personalization": True}


def test_relayout_moves_columns_by_name() -> None:
    profiles = table(VISITS, INCOME)
    put(profiles, "a", {"visits": 1.0, "income": 2.0})

    relayout(profiles, schema(number("new"), INCOME, VISITS))

    np.testing.assert_array_equal(values_of(profiles, "a"), [np.nan, 2.0, 1.0])


def test_relayout_recodes_categories_by_value_and_forgets_values_that_are_gone() -> None:
    profiles = table(category("tier", "basic", "silver", "gold"))
    put(profiles, "a", {"tier": "gold"})
    put(profiles, "b", {"tier": "silver"})
    put(profiles, "c", {})

    relayout(profiles, schema(category("tier", "gold", "platinum", "basic")))

    np.testing.assert_array_equal([values_of(profiles, each)[0] for each in "abc"], [0.0, np.nan, np.nan])


def test_relayout_drops_an_attribute_that_changed_its_type() -> None:
    profiles = table(number("tier"))
    put(profiles, "a", {"tier": 1.0})

    relayout(profiles, schema(category("tier", "basic", "gold")))

    assert np.isnan(values_of(profiles, "a")[0])


def test_relayout_keeps_the_cells_of_keys_that_stay() -> None:
    profiles = table(keyed("spend", "department", "grocery", "floral"))
    put(profiles, "a", {"spend.grocery": 1.0, "spend.floral": 2.0})

    relayout(profiles, schema(keyed("spend", "department", "floral", "tools")))

    np.testing.assert_array_equal(values_of(profiles, "a"), [2.0, np.nan])


def test_new_customers_after_a_relayout_have_the_new_width() -> None:
    profiles = table(VISITS)
    put(profiles, "a", {"visits": 1.0})

    relayout(profiles, schema(VISITS, number("new")))
    put(profiles, "b", {"new": 3.0})

    np.testing.assert_array_equal(values_of(profiles, "b"), [np.nan, 3.0])


def test_relayout_keeps_a_set_that_gained_a_member() -> None:
    profiles = table(text_set("tags", "vegan"))
    put(profiles, "a", {"tags": ("vegan",)})

    relayout(profiles, schema(text_set("tags", "vegan", "parent")))

    assert values_of(profiles, "a") == [1.0]


def test_purposes_of_catalogs_before_do_not_use_up_the_bits() -> None:
    profiles = table(VISITS, INCOME, DISTANCE)

    for number_ in range(MAX_PURPOSES + 1):
        attribute = Attribute("income", AttributeType.NUMBER, purpose=f"purpose{number_}")
        relayout(profiles, schema(attribute))
        change(profiles, "a", ConsentUpdate(f"purpose{number_}", True))

    assert profiles.consents(profiles.find("a"))[f"purpose{MAX_PURPOSES}"]


def test_relayout_keeps_the_times_at_which_cells_were_set() -> None:
    profiles = table(VISITS, INCOME)
    put(profiles, "a", {"visits": 2.0}, us_ago(hours=1))
    put(profiles, "a", {"income": 2.0}, us_ago(hours=3))
    put(profiles, "b", {"visits": 2.0}, us_ago(hours=1))

    relayout(profiles, schema(number("new"), INCOME, VISITS))
    for customer in "ab":
        put(profiles, customer, {"visits": 1.0, "income": 1.0, "new": 1.0}, us_ago(hours=2))

    assert attributes(profiles, "a") == {"new": 1.0, "income": 1.0, "visits": 2.0}
    assert attributes(profiles, "b") == {"new": 1.0, "income": 1.0, "visits": 2.0}


def test_relayout_keeps_the_times_of_answers() -> None:
    profiles = table(INCOME, DISTANCE)
    change(profiles, "a", ConsentUpdate("personalization", True), us_ago(hours=1))
    change(profiles, "a", ConsentUpdate("location", True), us_ago(hours=3))

    relayout(profiles, schema(Attribute("age", AttributeType.NUMBER, purpose="advertising"), DISTANCE, INCOME))
    for purpose in ("personalization", "location", "advertising"):
        change(profiles, "a", ConsentUpdate(purpose, False), us_ago(hours=2))

    assert profiles.consents(profiles.find("a")) == {"personalization": True, "location": False, "advertising": False}


def test_answer_for_a_purpose_that_goes_is_forgotten() -> None:
    profiles = table(INCOME)
    change(profiles, "a", ConsentUpdate("personalization", True))

    relayout(profiles, schema(VISITS))
    relayout(profiles, schema(INCOME))

    assert profiles.consents(profiles.find("a")) == {}


def test_relayout_keeps_what_aggregates_have_taken_in() -> None:
    kept = (
        count("purchases", "purchase"),
        total("revenue_7d", "purchase", "amount", window_days=7),
        last("last_purchase", "purchase"),
        decayed("affinity", "purchase", "amount", 30.0, by="department", keys=("grocery", "floral")),
    )
    profiles = table(VISITS, *kept)
    for days in (1, 3, 40):
        change(profiles, "a", Event("purchase", {"amount": 8.0, "department": "floral"}), us_ago(days=days))
    before = attributes(profiles, "a")

    relayout(profiles, schema(number("new"), *reversed(kept), INCOME))

    assert attributes(profiles, "a") == before
    change(profiles, "a", Event("purchase", {"amount": 1.0, "department": "floral"}))
    assert attributes(profiles, "a")["revenue_7d"] == 17.0
    assert attributes(profiles, "a")["purchases"] == 4.0


def test_new_aggregate_starts_blank() -> None:
    profiles = table(VISITS)
    put(profiles, "a", {"visits": 1.0})

    relayout(profiles, schema(VISITS, count("purchases", "purchase"), last("last_purchase", "purchase")))

    assert attributes(profiles, "a") == {"visits": 1.0, "purchases": 0.0}


@pytest.mark.parametrize(
    "other",
    [
        count("kept", "view"),
        count("kept", "purchase", window_days=7),
        total("kept", "purchase", "amount"),
        decayed("kept", "purchase", "amount", 30.0),
        number("kept"),
    ],
)
def test_aggregate_of_another_definition_starts_blank(other: Attribute) -> None:
    profiles = table(count("kept", "purchase"))
    change(profiles, "a", Event("purchase"))

    relayout(profiles, schema(other))

    assert attributes(profiles, "a") in ({}, {"kept": 0.0})


def test_aggregate_does_not_take_over_what_was_set() -> None:
    profiles = table(number("kept"))
    put(profiles, "a", {"kept": 5.0})

    relayout(profiles, schema(count("kept", "purchase")))

    assert attributes(profiles, "a") == {"kept": 0.0}


@pytest.mark.parametrize("half_life_days", [15.0, 60.0])
def test_decayed_sum_of_another_half_life_starts_blank(half_life_days: float) -> None:
    profiles = table(decayed("affinity", "purchase", "amount", 30.0))
    change(profiles, "a", Event("purchase", {"amount": 5.0}))

    relayout(profiles, schema(decayed("affinity", "purchase", "amount", half_life_days)))

    assert attributes(profiles, "a") == {"affinity": 0.0}


def test_window_may_grow_and_shrink() -> None:
    def laid_out(window_days: int) -> Schema:
        return schema(count("purchases", "purchase", window_days=window_days))

    profiles = ProfileTable(laid_out(7))
    for days in (0, 5, 10):
        change(profiles, "a", Event("purchase"), us_ago(days=days))

    counts = []
    for window_days in (7, 30, 3):
        relayout(profiles, laid_out(window_days))
        counts.append(attributes(profiles, "a")["purchases"])

    assert counts == [2.0, 3.0, 1.0]


def test_buckets_of_an_aggregate_that_goes_are_forgotten() -> None:
    weekly, monthly = count("weekly", "purchase", window_days=7), count("monthly", "purchase", window_days=30)
    profiles = table(weekly, monthly)
    change(profiles, "a", Event("purchase"))

    relayout(profiles, schema(monthly))
    relayout(profiles, schema(weekly, monthly))

    assert attributes(profiles, "a") == {"weekly": 0.0, "monthly": 1.0}


@pytest.mark.parametrize("window_days", [0, 7])
def test_aggregate_by_another_property_starts_blank(window_days: int) -> None:
    profiles = table(count("bought", "purchase", window_days, by="department", keys=("1", "2")))
    change(profiles, "a", Event("purchase", {"department": "1", "brand": "2"}))

    relayout(profiles, schema(count("bought", "purchase", window_days, by="brand", keys=("1", "2"))))

    assert attributes(profiles, "a") == {"bought.1": 0.0, "bought.2": 0.0}


def test_value_that_a_catalog_forgot_is_forgotten_with_its_time() -> None:
    profiles = table(VISITS, category("tier", "basic", "gold"))
    put(profiles, "shared", {"tier": "gold"}, us_ago(hours=1))
    put(profiles, "own", {"tier": "gold"}, us_ago(hours=1))
    put(profiles, "own", {"visits": 1.0}, us_ago(hours=5))

    relayout(profiles, schema(VISITS, category("tier", "basic", "platinum")))
    for customer in ("shared", "own"):
        put(profiles, customer, {"tier": "basic"}, us_ago(hours=2))

    assert attributes(profiles, "shared")["tier"] == attributes(profiles, "own").get("tier")


def test_joined_customers_are_worked_out_anew() -> None:
    profiles = table(VISITS, category("tier", "basic", "gold"))
    put(profiles, "a", {"visits": 1.0, "tier": "gold"}, us_ago(hours=1))
    put(profiles, "b", {"visits": 2.0, "tier": "basic"}, us_ago(hours=2))
    link(profiles, "a", "b")

    relayout(profiles, schema(category("tier", "silver", "gold"), INCOME, VISITS))
    profiles.refresh(9)

    assert attributes(profiles, "b") == {"tier": "gold", "visits": 1.0}
    unlink(profiles, "a", "b")
    assert attributes(profiles, "b") == {"visits": 2.0}


def test_same_attributes_move_nothing() -> None:
    profiles = table(VISITS, count("purchases", "purchase", window_days=7))
    put(profiles, "a", {"visits": 1.0})
    pages = list(profiles.pages)

    relayout(profiles, schema(VISITS, count("purchases", "purchase", window_days=7)))

    assert [a is b for a, b in zip(pages, profiles.pages, strict=True)] == [True]


def test_capture_that_was_begun_before_is_of_the_layout_before() -> None:
    profiles = table(VISITS)
    put(profiles, "a", {"visits": 1.0})

    saved = profiles.capture()
    relayout(profiles, schema(INCOME, VISITS))
    rows = next(page for page in saved if page.name == "rows")

    assert rows.arrays["values"].shape[1] == 1
    assert rows.arrays["values"][0, 0] == 1.0


def test_last_time_is_kept_to_seconds() -> None:
    profiles = table(last("last_purchase", "purchase"))
    change(profiles, "a", Event("purchase"), us_ago(days=2))

    relayout(profiles, schema(VISITS, last("last_purchase", "purchase")))

    found = attributes(profiles, "a")["last_purchase"]
    assert abs(found - (NOON - timedelta(days=2))) < timedelta(seconds=11)  # type: ignore[operator]


def test_set_that_shrinks_to_one_column_and_grows_again_keeps_what_fits() -> None:
    many = [f"tag{place}" for place in range(30)]
    profiles = table(text_set("tags", *many))
    change(profiles, "a", AttributeUpdates(append={"tags": ("tag1", "tag29")}))

    relayout(profiles, schema(text_set("tags", *many[:20])))
    relayout(profiles, schema(text_set("tags", *many)))

    assert attributes(profiles, "a") == {"tags": ("tag1",)}
