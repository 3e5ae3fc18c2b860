import numpy as np
import pytest

from server.domain.attribute import Attribute, AttributeType, MergeRule
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event
from server.input.contacts import decision_words
from server.input.pages import PAGE_ROWS
from server.input.profiles import ProfileTable
from tests.support.catalogs import category, count, merged, number, text_set
from tests.support.clock import NOON_US, us_ago
from tests.support.tables import (
    attributes,
    change,
    link,
    put,
    row_of,
    table,
    unlink,
    unreadable_of,
    values_of,
)

VISITS = number("visits")
INCOME = Attribute("income", AttributeType.NUMBER, purpose="personalization")
DISTANCE = Attribute("distance", AttributeType.NUMBER, purpose="location")


def people() -> ProfileTable:
    return table(VISITS, INCOME, DISTANCE)


def test_unknown_customer_has_no_row() -> None:
    assert people().read("nobody") is None


def test_new_customer_has_what_was_set_and_misses_the_rest() -> None:
    profiles = people()

    put(profiles, "a", {"visits": 2.0})

    np.testing.assert_array_equal(values_of(profiles, "a"), [2.0, np.nan, np.nan])


def test_customers_do_not_share_rows() -> None:
    profiles = people()

    put(profiles, "a", {"visits": 1.0})
    put(profiles, "b", {"visits": 2.0})

    assert (values_of(profiles, "a")[0], values_of(profiles, "b")[0], len(profiles)) == (1.0, 2.0, 2)


def test_rows_survive_the_growth_of_the_people() -> None:
    profiles = table(VISITS)
    for customer in range(PAGE_ROWS + 2):
        put(profiles, str(customer), {"visits": float(customer)})

    assert len(profiles) == PAGE_ROWS + 2
    for customer in (0, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1):
        assert values_of(profiles, str(customer)) == [float(customer)]


def test_version_is_that_of_the_last_entry_and_time_the_latest() -> None:
    profiles = people()

    put(profiles, "a", {"visits": 1.0}, us_ago(days=5), version=1)
    put(profiles, "a", {"visits": 2.0}, us_ago(days=10), version=2)

    assert row_of(profiles, "a").version == 2
    assert profiles.update_us(profiles.find("a")) == us_ago(days=5)
    assert values_of(profiles, "a")[0] == 1.0


def test_columns_of_purposes_that_were_not_granted_are_unreadable() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 1.0})

    assert unreadable_of(profiles, "a") == [1, 2]


def test_consent_opens_the_columns_of_its_purpose_alone_until_it_is_withdrawn() -> None:
    profiles = people()

    change(profiles, "a", ConsentUpdate("personalization", True), us_ago(hours=1))
    granted = unreadable_of(profiles, "a")
    change(profiles, "a", ConsentUpdate("personalization", False))

    assert granted == [2]
    assert unreadable_of(profiles, "a") == [1, 2]


def test_consent_of_one_customer_is_not_that_of_another() -> None:
    profiles = people()

    change(profiles, "a", ConsentUpdate("personalization", True))
    change(profiles, "b", ConsentUpdate("location", True))

    assert (unreadable_of(profiles, "a"), unreadable_of(profiles, "b")) == ([2], [1])


def test_consents_tell_refused_from_never_asked() -> None:
    profiles = people()

    change(profiles, "a", ConsentUpdate("location", False))

    assert profiles.consents(profiles.find("a")) == {"location": False}


def test_value_of_the_latest_event_time_holds_in_whatever_order_they_come() -> None:
    profiles = people()

    put(profiles, "a", {"visits": 2.0, "income": 2.0}, us_ago(hours=2))
    put(profiles, "a", {"visits": 3.0}, us_ago(hours=1))
    put(profiles, "a", {"visits": 1.0, "distance": 1.0}, us_ago(hours=3))

    assert attributes(profiles, "a") == {"visits": 3.0, "income": 2.0, "distance": 1.0}


def test_of_two_values_at_the_same_time_the_one_that_came_last_holds() -> None:
    profiles = people()

    put(profiles, "a", {"visits": 1.0})
    put(profiles, "a", {"visits": 2.0})

    assert attributes(profiles, "a") == {"visits": 2.0}


def test_removal_has_a_time_too() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 1.0, "income": 1.0}, us_ago(hours=3))

    change(profiles, "a", AttributeUpdates(remove={"visits": ()}), us_ago(hours=1))
    put(profiles, "a", {"visits": 2.0, "income": 2.0}, us_ago(hours=2))

    assert attributes(profiles, "a") == {"income": 2.0}


def test_removal_that_comes_late_removes_nothing() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 1.0}, us_ago(hours=1))

    change(profiles, "a", AttributeUpdates(remove={"visits": ()}), us_ago(hours=2))

    assert attributes(profiles, "a") == {"visits": 1.0}


def test_removal_of_what_was_never_set_holds_against_what_is_older() -> None:
    profiles = people()

    change(profiles, "a", AttributeUpdates(remove={"visits": ()}), us_ago(hours=1))
    put(profiles, "a", {"visits": 1.0, "income": 1.0}, us_ago(hours=2))

    assert attributes(profiles, "a") == {"income": 1.0}


def test_increments_count_whenever_they_come_and_leave_the_time_of_what_was_set() -> None:
    profiles = people()
    more = AttributeUpdates(increment={"visits": 1.0})

    put(profiles, "a", {"visits": 5.0}, us_ago(hours=2))
    change(profiles, "a", more, us_ago(hours=9))
    change(profiles, "a", more, us_ago(hours=1))
    put(profiles, "a", {"income": 1.0, "visits": 0.0}, us_ago(hours=3))

    assert attributes(profiles, "a") == {"visits": 7.0, "income": 1.0}


def test_what_was_only_incremented_gives_way_to_anything_that_is_set() -> None:
    profiles = people()
    put(profiles, "a", {"income": 1.0}, us_ago(hours=1))

    change(profiles, "a", AttributeUpdates(increment={"visits": 3.0}), us_ago(hours=1))
    put(profiles, "a", {"visits": 1.0}, us_ago(days=300))

    assert attributes(profiles, "a") == {"visits": 1.0, "income": 1.0}


def test_withdrawn_consent_that_comes_late_is_no_answer_any_more() -> None:
    profiles = people()
    change(profiles, "a", ConsentUpdate("personalization", True), us_ago(hours=1))

    change(profiles, "a", ConsentUpdate("personalization", False), us_ago(hours=2))

    assert profiles.consents(profiles.find("a")) == {"personalization": True}


@pytest.mark.parametrize("answers", [(True, False), (False, True), (True, False, True), (False, True, True)])
def test_of_two_answers_at_the_same_time_the_refusal_holds(answers: tuple[bool, ...]) -> None:
    profiles = people()
    change(profiles, "a", ConsentUpdate("personalization", True), us_ago(hours=1))

    for answer in answers:
        change(profiles, "a", ConsentUpdate("personalization", answer))

    assert profiles.consents(profiles.find("a")) == {"personalization": False}


def test_answers_for_different_purposes_have_times_of_their_own() -> None:
    profiles = people()
    change(profiles, "a", ConsentUpdate("personalization", True), us_ago(hours=1))

    change(profiles, "a", ConsentUpdate("location", True), us_ago(hours=2))

    assert profiles.consents(profiles.find("a")) == {"personalization": True, "location": True}


def test_joined_customer_is_read_the_same_by_each_identifier() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 1.0}, us_ago(hours=1))
    put(profiles, "b", {"visits": 2.0, "income": 5.0}, us_ago(hours=2))

    link(profiles, "a", "b")

    assert attributes(profiles, "a") == attributes(profiles, "b") == {"visits": 1.0, "income": 5.0}


def test_change_of_one_identifier_is_seen_by_the_other_at_once() -> None:
    profiles = people()
    link(profiles, "a", "b")

    put(profiles, "b", {"visits": 2.0}, version=7)

    assert attributes(profiles, "a") == {"visits": 2.0}
    assert row_of(profiles, "a").version == 7


def test_parted_identifiers_have_what_came_for_each_of_them() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 1.0}, us_ago(hours=2))
    link(profiles, "a", "b")
    put(profiles, "b", {"visits": 2.0}, us_ago(hours=1))

    parts = unlink(profiles, "a", "b")

    assert parts == [{"a"}, {"b"}]
    assert (attributes(profiles, "a"), attributes(profiles, "b")) == ({"visits": 1.0}, {"visits": 2.0})


def test_forgotten_identifier_is_unknown_and_its_row_comes_blank_to_the_next() -> None:
    profiles = table(VISITS, INCOME, count("purchases", "purchase", window_days=7))
    put(profiles, "a", {"visits": 1.0})
    change(profiles, "a", Event("purchase"))
    change(profiles, "a", ConsentUpdate("personalization", True))
    row = profiles.find("a")

    profiles.forget([row])
    put(profiles, "b", {"income": 2.0}, us_ago(days=9))

    assert profiles.read("a") is None
    assert profiles.find("b") == row
    assert attributes(profiles, "b") == {"income": 2.0, "purchases": 0.0}
    assert profiles.consents(row) == {}


def test_customer_that_is_forgotten_whole_leaves_nobody_joined() -> None:
    profiles = people()
    for other in "bc":
        put(profiles, other, {"visits": 1.0})
        link(profiles, "a", other)

    profiles.forget([profiles.find(each) for each in "abc"])

    assert len(profiles) == 0
    assert profiles.graph.customers() == []


def test_capture_across_pages_is_of_its_moment_and_growth_does_not_show() -> None:
    profiles = table(VISITS)
    for customer in range(PAGE_ROWS + 5):
        put(profiles, str(customer), {"visits": 1.0})

    saved = profiles.capture()
    for customer in range(2 * PAGE_ROWS + 5):
        put(profiles, str(customer), {"visits": 2.0})
    pages = [page for page in saved if page.name == "rows"]

    assert sorted(page.number for page in pages) == [0, 1]
    assert {float(value) for page in pages for value in page.arrays["values"][:5, 0]} == {1.0}


def test_set_of_several_columns_is_merged_member_by_member() -> None:
    members = [f"tag{place}" for place in range(30)]
    profiles = table(text_set("tags", *members))

    put(profiles, "a", {"tags": ("tag0", "tag29")})
    put(profiles, "b", {"tags": ("tag1",)})
    link(profiles, "a", "b")

    assert attributes(profiles, "a") == {"tags": ("tag0", "tag1", "tag29")}


def test_each_attribute_is_merged_by_its_own_rule() -> None:
    profiles = table(
        VISITS,
        merged(number("level"), MergeRule.MAX),
        merged(number("points"), MergeRule.SUM),
        category("tier", "x", "y"),
    )
    put(profiles, "a", {"visits": 9.0, "level": 1.0, "points": 2.0, "tier": "x"}, us_ago(hours=2))
    put(profiles, "b", {"visits": 1.0, "level": 3.0, "points": 3.0, "tier": "y"}, us_ago(hours=1))

    link(profiles, "a", "b")

    assert attributes(profiles, "a") == {"visits": 1.0, "level": 3.0, "points": 5.0, "tier": "y"}


def test_update_time_of_a_joined_customer_is_the_newest() -> None:
    profiles = people()
    put(profiles, "a", {"visits": 9.0}, us_ago(hours=2))
    put(profiles, "b", {"visits": 1.0}, us_ago(hours=1))

    link(profiles, "a", "b")

    assert profiles.update_us(profiles.graph.customer(profiles.find("a"))) == us_ago(hours=1)


def test_contacts_of_all_identifiers_are_the_customers_whichever_row_is_asked() -> None:
    profiles = people()
    for number_, customer_id in enumerate("abc", 1):
        put(profiles, customer_id, {"visits": 1.0})
        profiles.contacts.add(profiles.find(customer_id), NOON_US, number_, decision_words([0]), 0)
    link(profiles, "a", "b")

    found = {name: profiles.events(profiles.find(name)) for name in "abc"}
    of_customer = profiles.events(profiles.graph.customer(profiles.find("b")))

    numbers = {name: sorted(events.numbers.tolist()) for name, events in found.items() if events is not None}
    assert numbers == {"a": [1, 2], "b": [1, 2], "c": [3]}
    assert of_customer is not None
    assert sorted(of_customer.numbers.tolist()) == [1, 2]
