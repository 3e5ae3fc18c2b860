from itertools import permutations

import numpy as np
import pytest

from server.domain.attribute import Attribute, AttributeType, MergeRule, Value
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event
from server.input.merging import Member, merged_consents
from server.input.profiles import ProfileTable
from tests.support.catalogs import (
    boolean,
    category,
    count,
    decayed,
    keyed,
    last,
    merged,
    number,
    text_set,
    timestamp,
    total,
)
from tests.support.clock import NOON, us_ago
from tests.support.tables import attributes, change, link, put, row_of, table

VISITS = number("visits")


def joined(profiles: ProfileTable, *names: str) -> dict[str, Value]:
    """The attributes of the customer of these identifiers, joined."""
    for name in names[1:]:
        link(profiles, names[0], name)
    assert all(attributes(profiles, name) == attributes(profiles, names[0]) for name in names)
    return attributes(profiles, names[0])


def test_latest_is_the_value_with_the_latest_event_time_whoever_has_it() -> None:
    for order in permutations([(3.0, 1), (2.0, 2), (1.0, 3)]):
        profiles = table(VISITS)
        for name, (value, hours) in zip("abc", order, strict=True):
            put(profiles, name, {"visits": value}, us_ago(hours=hours))

        assert joined(profiles, "a", "b", "c") == {"visits": 3.0}


def test_each_cell_has_a_latest_of_its_own() -> None:
    profiles = table(VISITS, category("tier", "basic", "gold"), keyed("spend", "department", "grocery", "floral"))
    put(profiles, "a", {"visits": 1.0, "spend.grocery": 1.0}, us_ago(hours=1))
    put(profiles, "a", {"tier": "basic", "spend.floral": 1.0}, us_ago(hours=4))
    put(profiles, "b", {"visits": 2.0, "tier": "gold", "spend.floral": 2.0, "spend.grocery": 2.0}, us_ago(hours=2))

    assert joined(profiles, "a", "b") == {
        "visits": 1.0, "tier": "gold", "spend.grocery": 1.0, "spend.floral": 2.0
    }  # fmt: skip


def test_of_values_at_the_same_time_the_same_one_holds_however_they_were_joined() -> None:
    found = []
    for first, second in ("ab", "ba"):
        profiles = table(VISITS)
        put(profiles, first, {"visits": 1.0 if first == "a" else 2.0})
        put(profiles, second, {"visits": 1.0 if second == "a" else 2.0})
        found.append(joined(profiles, first, second))

    assert found == [{"visits": 1.0}, {"visits": 1.0}]


def test_removal_is_the_latest_if_nothing_was_set_later() -> None:
    profiles = table(VISITS, number("score"))
    put(profiles, "a", {"visits": 1.0, "score": 1.0}, us_ago(hours=2))
    change(profiles, "b", AttributeUpdates(remove={"visits": (), "score": ()}), us_ago(hours=1))
    put(profiles, "c", {"score": 3.0}, us_ago())

    assert joined(profiles, "a", "b", "c") == {"score": 3.0}


def test_missing_value_does_not_win_over_one_that_is_there() -> None:
    profiles = table(VISITS, number("score"))
    put(profiles, "a", {"visits": 1.0}, us_ago(hours=5))
    put(profiles, "b", {"score": 1.0}, us_ago(hours=1))

    assert joined(profiles, "a", "b") == {"visits": 1.0, "score": 1.0}


def test_what_was_only_added_up_is_older_than_anything_that_was_set() -> None:
    profiles = table(VISITS, number("score"))
    change(profiles, "a", AttributeUpdates(increment={"visits": 5.0, "score": 5.0}), us_ago())
    put(profiles, "b", {"visits": 1.0}, 0)

    assert joined(profiles, "a", "b") == {"visits": 1.0, "score": 5.0}


@pytest.mark.parametrize("who", ["a", "b"])
def test_what_was_only_added_up_is_newer_than_nothing_at_all(who: str) -> None:
    profiles = table(VISITS)
    put(profiles, "a", {})
    put(profiles, "b", {})
    change(profiles, who, AttributeUpdates(increment={"visits": 5.0}))

    assert joined(profiles, "a", "b") == {"visits": 5.0}


def test_maximum_passes_missing_values_over() -> None:
    profiles = table(merged(number("level"), MergeRule.MAX), merged(timestamp("seen"), MergeRule.MAX))
    put(profiles, "a", {"level": -2.0}, us_ago(hours=1))
    put(profiles, "b", {"level": -1.0, "seen": NOON}, us_ago(hours=2))
    put(profiles, "c", {})

    assert joined(profiles, "a", "b", "c")["level"] == -1.0
    assert "seen" in attributes(profiles, "c")


def test_sum_passes_missing_values_over_and_is_missing_if_all_are() -> None:
    profiles = table(merged(number("points"), MergeRule.SUM), merged(number("none"), MergeRule.SUM))
    put(profiles, "a", {"points": 2.0})
    put(profiles, "b", {"points": -0.5})
    put(profiles, "c", {})

    assert joined(profiles, "a", "b", "c") == {"points": 1.5}


def test_union_has_all_members_and_an_empty_set_is_one() -> None:
    profiles = table(text_set("tags", "vegan", "parent"), text_set("empty", "x"), text_set("none", "x"))
    put(profiles, "a", {"tags": ("vegan",), "empty": ()})
    put(profiles, "b", {"tags": ("parent",)})

    assert joined(profiles, "a", "b") == {"tags": ("vegan", "parent"), "empty": ()}


def test_latest_of_sets_of_several_columns_is_one_set_and_no_mixture() -> None:
    members = [f"tag{place}" for place in range(60)]
    profiles = table(merged(text_set("tags", *members), MergeRule.LATEST))
    put(profiles, "a", {"tags": ("tag0", "tag59")}, us_ago(hours=2))
    put(profiles, "b", {"tags": ("tag30",)}, us_ago(hours=1))

    assert joined(profiles, "a", "b") == {"tags": ("tag30",)}


def test_truth_values_are_merged_by_time() -> None:
    profiles = table(boolean("member"))
    put(profiles, "a", {"member": True}, us_ago(hours=2))
    put(profiles, "b", {"member": False}, us_ago(hours=1))

    assert joined(profiles, "a", "b") == {"member": False}


def test_aggregates_are_worth_what_they_would_be_if_all_events_were_one_customers() -> None:
    kept = (
        count("n", "buy"), total("s", "buy", "amount"), total("w", "buy", "amount", 7), last("l", "buy"),
        decayed("d", "buy", "amount", 5.0), count("by", "buy", 30, by="department", keys=("x", "y")),
    )  # fmt: skip
    apart, alone = table(*kept), table(*kept)
    for place, days in enumerate([0, 1, 6, 7, 20, 29, 31]):
        event = Event("buy", {"amount": float(days), "department": "xy"[place % 2]})
        change(apart, "abc"[place % 3], event, us_ago(days=days))
        change(alone, "a", event, us_ago(days=days))

    found, expected = joined(apart, "a", "b", "c"), attributes(alone, "a")

    assert found.pop("d") == pytest.approx(expected.pop("d"), rel=1e-5)
    assert found == expected


def test_decayed_sums_without_any_event_are_nothing() -> None:
    profiles = table(decayed("d", "buy", "amount", 5.0))
    put(profiles, "a", {})
    put(profiles, "b", {})

    assert joined(profiles, "a", "b") == {"d": 0.0}
    assert np.isnan(row_of(profiles, "a").values[profiles.schema.columns["d#time"]])


def test_decayed_sums_of_very_different_times_are_merged_without_overflow() -> None:
    profiles = table(decayed("d", "buy", "amount", 0.1))
    change(profiles, "a", Event("buy", {"amount": 3.0}), 0)
    change(profiles, "b", Event("buy", {"amount": 3.0}), us_ago())

    assert joined(profiles, "a", "b") == {"d": 3.0}


def test_window_counts_what_the_others_did_on_the_same_day() -> None:
    profiles = table(count("n", "buy", 7))
    for name in ("a", "b"):
        for days in (0, 1, 9):
            change(profiles, name, Event("buy"), us_ago(days=days))

    assert joined(profiles, "a", "b") == {"n": 4.0}


def test_sum_stops_at_what_a_float32_holds() -> None:
    profiles = table(merged(number("points"), MergeRule.SUM))
    put(profiles, "a", {"points": 3e38})
    put(profiles, "b", {"points": 3e38})

    joined(profiles, "a", "b")
    assert np.isfinite(row_of(profiles, "a").values).all()


def member(*answers: tuple[bool, int] | None) -> Member:
    """Answers for purposes with their times, None where there is none."""
    granted = sum(1 << bit for bit, answer in enumerate(answers) if answer and answer[0])
    recorded = sum(1 << bit for bit, answer in enumerate(answers) if answer)
    times = np.array([answer[1] if answer else -(2**63) for answer in answers], np.int64)
    return Member(np.empty(0, np.float32), np.empty(0, np.int64), granted, recorded, times)


@pytest.mark.parametrize(
    ("members", "granted", "recorded"),
    [
        ([member(None), member(None)], 0, 0),
        ([member((True, 1)), member(None)], 1, 1),
        ([member((True, 1)), member((False, 2))], 0, 1),
        ([member((False, 1)), member((True, 2))], 1, 1),
        ([member((True, 1)), member((False, 1)), member((True, 1))], 0, 1),
        ([member((True, 1), (False, 9)), member((False, 0), (True, 8))], 0b01, 0b11),
        ([member(None, (True, 5)), member((False, 5), None)], 0b10, 0b11),
    ],
)
def test_latest_answer_holds_and_of_two_at_the_same_time_the_refusal(
    members: list[Member], granted: int, recorded: int
) -> None:
    for order in permutations(members):
        assert merged_consents(order) == (granted, recorded)


def test_customer_may_be_read_if_the_latest_answer_of_any_identifier_allows_it() -> None:
    profiles = table(VISITS, Attribute("income", AttributeType.NUMBER, purpose="p"))
    put(profiles, "a", {"income": 5.0})
    change(profiles, "b", ConsentUpdate("p", True), us_ago(hours=1))
    link(profiles, "a", "b")
    assert row_of(profiles, "a").unreadable.tolist() == []

    change(profiles, "a", ConsentUpdate("p", False), us_ago())
    assert row_of(profiles, "b").unreadable.tolist() == [1]
