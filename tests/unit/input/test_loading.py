from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from server.domain.attribute import Value
from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.profile import AttributeUpdates
from server.input.digest import digest_of
from server.input.loading import check_batch, load
from server.input.pages import PAGE_ROWS
from server.input.profiles import ProfileTable
from tests.support.catalogs import boolean, category, count, keyed, number, schema, text, text_set, timestamp
from tests.support.clock import NOON, NOON_US, TODAY, us_ago
from tests.support.tables import attributes, change, link, put, row_of

NAN = float("nan")
MEMBERS = [f"tag{place}" for place in range(30)]
SCHEMA = schema(
    number("visits"), boolean("member"), category("tier", "basic", "silver", "gold"), text_set("tags", *MEMBERS),
    timestamp("last_visit"), keyed("spend", "department", "grocery", "floral"), text("email"),
    count("purchases", "purchase"),
)  # fmt: skip


def column(name: str, values: ArrayLike, texts: Sequence[str] = (), lengths: ArrayLike = ()) -> LoadColumn:
    return LoadColumn(name, np.array(values, np.float64), tuple(texts), np.array(lengths, np.int32))


def batch(*columns: LoadColumn, ids: Sequence[str] = ("a", "b"), times_us: Sequence[int] | None = None) -> ColumnBatch:
    times = np.full(len(ids), NOON_US, np.int64) if times_us is None else np.array(times_us, np.int64)
    return ColumnBatch(tuple(ids), times, columns)


def loaded(*batches: ColumnBatch) -> ProfileTable:
    profiles = ProfileTable(SCHEMA)
    for version, each in enumerate(batches, start=1):
        check_batch(each, SCHEMA)
        load(profiles, each, version)
        profiles.refresh(version)
    return profiles


def known(profiles: ProfileTable, customer_id: str) -> dict[str, Value]:
    found = attributes(profiles, customer_id)
    assert found.pop("purchases") == 0.0
    return found


def test_values_of_every_type_are_loaded_and_missing_ones_are_not() -> None:
    last_visit = datetime(2026, 11, 20, tzinfo=UTC)

    profiles = loaded(
        batch(
            column("visits", [1.5, NAN]),
            column("member", [1, 0]),
            column("tier", [1, 0], ["gold", "silver"]),
            column("last_visit", [NAN, microseconds_of(last_visit)]),
            column("spend.floral", [0.7, NAN]),
            column("tags", [0, 1], ["tag29", "tag0"], [2, -1]),
        )
    )

    assert known(profiles, "a") == {
        "visits": 1.5, "member": True, "tier": "silver", "spend.floral": 0.7, "tags": ("tag0", "tag29")
    }  # fmt: skip
    assert known(profiles, "b") == {"member": False, "tier": "gold", "last_visit": last_visit}


def test_set_without_members_is_loaded_as_an_empty_one() -> None:
    profiles = loaded(batch(column("tags", [0], ["tag3"], [0, 1])))

    assert (known(profiles, "a"), known(profiles, "b")) == ({"tags": ()}, {"tags": ("tag3",)})


def test_member_that_stands_twice_is_one() -> None:
    assert known(loaded(batch(column("tags", [0, 0], ["tag3"], [2, -1]))), "a") == {"tags": ("tag3",)}


def test_batch_without_columns_makes_its_customers_known() -> None:
    profiles = loaded(batch())

    assert (len(profiles), known(profiles, "a")) == (2, {})


def test_row_says_at_which_version_and_for_which_time_it_was_loaded() -> None:
    profiles = loaded(batch(), batch(column("visits", [1.0]), ids=["b"], times_us=[us_ago(hours=3)]))

    assert [row_of(profiles, each).version for each in "ab"] == [1, 2]
    assert [profiles.update_us(profiles.find(each)) for each in "ab"] == [NOON_US, NOON_US]


def test_value_that_was_set_later_stays() -> None:
    profiles = ProfileTable(SCHEMA)
    put(profiles, "a", {"visits": 1.0}, us_ago(hours=1))
    put(profiles, "b", {"visits": 1.0}, us_ago(hours=3))

    load(profiles, batch(column("visits", [2, 2]), column("member", [1, 1]), times_us=[us_ago(hours=2)] * 2), 1)

    assert known(profiles, "a") == {"visits": 1.0, "member": True}
    assert known(profiles, "b") == {"visits": 2.0, "member": True}


def test_load_leaves_what_it_does_not_mention() -> None:
    profiles = ProfileTable(SCHEMA)
    put(profiles, "a", {"visits": 1.0, "member": True})

    load(profiles, batch(column("visits", [2], []), ids=["a"]), 1)

    assert known(profiles, "a") == {"visits": 2.0, "member": True}


def test_joined_customers_are_worked_out_anew() -> None:
    profiles = ProfileTable(SCHEMA)
    link(profiles, "a", "b")

    load(profiles, batch(column("visits", [2.0]), ids=["b"]), 5)
    profiles.refresh(5)

    assert known(profiles, "a") == {"visits": 2.0}


def test_load_is_the_same_as_the_same_deltas_one_by_one() -> None:
    size = 2 * PAGE_ROWS + 100
    draw = np.random.default_rng(3)
    ids = [f"c{place}" for place in draw.permutation(size)]
    at_once, one_by_one = ProfileTable(SCHEMA), ProfileTable(SCHEMA)
    for profiles in (at_once, one_by_one):
        for place in range(0, size, 3):
            put(profiles, f"c{place}", {"visits": 9.0}, us_ago(hours=place % 5))
        for place in range(0, size, 50):
            change(profiles, f"c{place}", AttributeUpdates(increment={"spend.grocery": 2.0}))
    visits = np.where(draw.random(size) < 0.3, NAN, draw.integers(0, 9, size).astype(float))
    tiers = np.where(draw.random(size) < 0.3, NAN, draw.integers(0, 2, size).astype(float))
    lengths = draw.integers(-1, 3, size)
    members = draw.integers(0, 30, np.maximum(lengths, 0).sum())
    times_us = [us_ago(hours=int(hours)) for hours in draw.integers(0, 5, size)]

    sets = column("tags", members, MEMBERS, lengths)
    load(
        at_once,
        batch(column("visits", visits), column("tier", tiers, ["gold", "basic"]), sets, ids=ids, times_us=times_us),
        1,
    )
    ends = np.cumsum(np.maximum(lengths, 0))
    for place, customer_id in enumerate(ids):
        values: dict[str, Value] = {}
        if visits[place] == visits[place]:
            values["visits"] = float(visits[place])
        if tiers[place] == tiers[place]:
            values["tier"] = ["gold", "basic"][int(tiers[place])]
        if lengths[place] >= 0:
            values["tags"] = tuple(MEMBERS[m] for m in members[ends[place] - lengths[place] : ends[place]])
        put(one_by_one, customer_id, values, times_us[place])

    assert digest_of(at_once, TODAY) == digest_of(one_by_one, TODAY)
    assert all(attributes(at_once, each) == attributes(one_by_one, each) for each in ids[::17])


@pytest.mark.parametrize(
    ("columns", "more", "field", "words"),
    [
        ([column("vists", [1, 2])], {}, "columns[0]", "not an attribute"),
        ([column("visits", [1, 2]), column("email", [1, 2])], {}, "columns[1]", "not an attribute"),
        ([column("purchases", [1, 2])], {}, "columns[0]", "not an attribute"),
        ([column("spend", [1, 2])], {}, "columns[0]", "not an attribute"),
        ([column("tags#1", [1, 2])], {}, "columns[0]", "not an attribute"),
        ([column("visits", [1, 2]), column("visits", [1, 2])], {}, "columns", "twice"),
        ([column("visits", [1])], {}, "columns[0]", "a value for each customer"),
        ([column("visits", [1, 2, 3])], {}, "columns[0]", "a value for each customer"),
        ([column("visits", [1, float("inf")])], {}, "columns[0]", "finite"),
        ([column("visits", [1, -1e39])], {}, "columns[0]", "32-bit"),
        ([column("member", [1, 2])], {}, "columns[0]", "0 or 1"),
        ([column("member", [0.5, 0])], {}, "columns[0]", "0 or 1"),
        ([column("tier", [0, 1], ["gold"])], {}, "columns[0].values", "places in `texts`"),
        ([column("tier", [0, -1], ["gold"])], {}, "columns[0].values", "places in `texts`"),
        ([column("tier", [0, 0.5], ["gold", "basic"])], {}, "columns[0].values", "places in `texts`"),
        ([column("tier", [0, float("inf")], ["gold"])], {}, "columns[0]", "finite"),
        ([column("tier", [0, 1], ["gold", "zinc"])], {}, "columns[0].texts[1]", "none of the 3 declared"),
        ([column("last_visit", [0, -1])], {}, "columns[0]", "1970 to 2200"),
        ([column("last_visit", [0, 7_258_118_400_000_000])], {}, "columns[0]", "1970 to 2200"),
        ([column("tags", [0], ["tag1"], [1])], {}, "columns[0].lengths", "number of members"),
        ([column("tags", [0], ["tag1"], [1, 1])], {}, "columns[0].lengths", "number of members"),
        ([column("tags", [NAN], ["tag1"], [1, 0])], {}, "columns[0].lengths", "number of members"),
        ([column("tags", [1], ["tag1"], [1, 0])], {}, "columns[0].values", "places in `texts`"),
        ([column("tags", [0], ["zen"], [1, 0])], {}, "columns[0].texts[0]", "none of the 30 declared"),
        ([], {"times_us": [NOON_US]}, "event_times_us", "for each customer"),
        ([], {"times_us": [NOON_US, -1]}, "event_time", "1970 to 2200"),
        ([], {"times_us": [7_258_118_400_000_000, 0]}, "event_time", "1970 to 2200"),
        ([], {"ids": ["a", "a"]}, "customer_ids", "twice"),
    ],
)
def test_batch_that_does_not_fit_is_refused_with_its_path(
    columns: list[LoadColumn], more: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(OpportuneError) as refused:
        check_batch(batch(*columns, **more), SCHEMA)

    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert refused.value.violations[0].field == field
    assert words in refused.value.violations[0].description


def test_place_that_no_integer_holds_is_refused_too() -> None:
    with pytest.raises(OpportuneError) as refused:
        check_batch(batch(column("tier", [0, 1e300], ["gold"])), SCHEMA)

    assert refused.value.violations[0].field == "columns[0].values"


def test_set_with_lengths_below_minus_one_is_missing() -> None:
    profiles = loaded(batch(column("tags", [0], ["tag1"], [-2, 1])))

    assert (known(profiles, "a"), known(profiles, "b")) == ({}, {"tags": ("tag1",)})


def test_columns_that_the_catalog_does_not_have_any_more_are_left_out() -> None:
    profiles = ProfileTable(SCHEMA)

    load(profiles, batch(column("gone", [1, 2]), column("tier", [0, 0], ["zinc"]), column("visits", [1, 2])), 1)

    assert (known(profiles, "a"), known(profiles, "b")) == ({"visits": 1.0}, {"visits": 2.0})


def test_time_of_a_visit_is_kept_to_seconds() -> None:
    found = known(loaded(batch(column("last_visit", [us_ago(days=3), NAN]))), "a")["last_visit"]

    assert isinstance(found, datetime)
    assert abs(found - (NOON - timedelta(days=3))) <= timedelta(seconds=11)
