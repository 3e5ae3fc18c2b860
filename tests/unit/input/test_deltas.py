from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from server.domain.attribute import FloatRow, Schema
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.profile import AttributeUpdates
from server.input.deltas import compile_updates
from server.input.profiles import ProfileTable
from tests.support.catalogs import boolean, category, count, decayed, keyed, number, schema, text, text_set, timestamp
from tests.support.tables import change, row_of

MANY = tuple(f"member{place}" for place in range(30))
SCHEMA = schema(
    number("visits"),
    boolean("member"),
    category("tier", "basic", "gold"),
    text_set("tags", "vegan", "parent", "student"),
    timestamp("last_visit"),
    keyed("spend", "department", "grocery", "floral"),
    text("email"),
    count("purchases", "purchase"),
    decayed("affinity", "purchase", "amount", 30.0),
)


def row_after(*updates: AttributeUpdates, laid_out: Schema = SCHEMA) -> FloatRow:
    profiles = ProfileTable(laid_out)
    for update in updates:
        change(profiles, "a", update)
    return row_of(profiles, "a").values


def cells(row: FloatRow) -> Mapping[str, float]:
    settable = list(SCHEMA.columns.items())[: SCHEMA.settable_width]
    return {name: float(row[column]) for name, column in settable if not np.isnan(row[column])}


def test_values_of_every_type_are_set() -> None:
    updates = AttributeUpdates(
        set={
            "visits": 3.5,
            "member": True,
            "tier": "gold",
            "tags": ("vegan", "student"),
            "last_visit": datetime(2020, 1, 3, tzinfo=UTC),
            "spend.floral": 7.0,
        }
    )

    assert cells(row_after(updates)) == {
        "visits": 3.5, "member": 1.0, "tier": 1.0, "tags": 5.0, "last_visit": 2.0, "spend.floral": 7.0,
    }  # fmt: skip


def test_increment_of_a_missing_number_counts_from_zero() -> None:
    more = AttributeUpdates(increment={"visits": 2.0, "spend.grocery": -1.5})

    assert cells(row_after(more, more)) == {"visits": 4.0, "spend.grocery": -3.0}


def test_members_are_added_and_removed() -> None:
    add = AttributeUpdates(append={"tags": ("vegan", "parent")})
    remove = AttributeUpdates(remove={"tags": ("vegan", "student")})

    assert cells(row_after(add)) == {"tags": 3.0}
    assert cells(row_after(add, remove)) == {"tags": 2.0}


def test_setting_a_set_replaces_its_members() -> None:
    first, second = AttributeUpdates(set={"tags": ("vegan",)}), AttributeUpdates(set={"tags": ("parent",)})

    assert cells(row_after(first, second)) == {"tags": 2.0}


@pytest.mark.parametrize("name", ["visits", "tier", "tags", "spend.grocery"])
def test_removing_nothing_in_particular_makes_an_attribute_missing(name: str) -> None:
    full = AttributeUpdates(set={"visits": 1.0, "tier": "gold", "tags": ("vegan",), "spend.grocery": 1.0})

    assert cells(row_after(full, AttributeUpdates(remove={name: ()}))).keys() == cells(row_after(full)).keys() - {name}


@pytest.mark.parametrize(
    ("updates", "field", "words"),
    [
        ({"set": {"vists": 1.0}}, 'attributes.set["vists"]', "did you mean visits?"),
        ({"set": {"visits": "many"}}, 'attributes.set["visits"]', "takes a number"),
        ({"set": {"visits": True}}, 'attributes.set["visits"]', "takes a number"),
        ({"set": {"visits": float("nan")}}, 'attributes.set["visits"]', "finite"),
        ({"set": {"visits": float("inf")}}, 'attributes.set["visits"]', "finite"),
        ({"set": {"visits": 1e39}}, 'attributes.set["visits"]', "32-bit"),
        ({"set": {"member": 1.0}}, 'attributes.set["member"]', "takes a truth value"),
        ({"set": {"tier": "platinum"}}, 'attributes.set["tier"]', "none of the 2 declared"),
        ({"set": {"tags": "vegan"}}, 'attributes.set["tags"]', "list of texts"),
        ({"set": {"tags": ("vegan", "zen")}}, 'attributes.set["tags"][1]', "none of the 3 declared"),
        ({"set": {"last_visit": 3.0}}, 'attributes.set["last_visit"]', "takes a timestamp"),
        ({"set": {"last_visit": datetime(1969, 1, 1, tzinfo=UTC)}}, 'attributes.set["last_visit"]', "1970 to 2200"),
        ({"set": {"last_visit": datetime(2200, 1, 1, tzinfo=UTC)}}, 'attributes.set["last_visit"]', "1970 to 2200"),
        ({"set": {"spend": 1.0}}, 'attributes.set["spend"]', '"spend.grocery"'),
        ({"set": {"spend.tools": 1.0}}, 'attributes.set["spend.tools"]', "not an attribute"),
        ({"set": {"email": 1.0}}, 'attributes.set["email"]', "takes a text"),
        ({"append": {"email": ("x",)}}, 'attributes.append["email"]', "only sets"),
        ({"increment": {"email": 1.0}}, 'attributes.increment["email"]', "only numbers"),
        ({"set": {"purchases": 1.0}}, 'attributes.set["purchases"]', "is an aggregate"),
        ({"increment": {"purchases": 1.0}}, 'attributes.increment["purchases"]', "is an aggregate"),
        ({"remove": {"purchases": ()}}, 'attributes.remove["purchases"]', "is an aggregate"),
        ({"set": {"affinity": 1.0}}, 'attributes.set["affinity"]', "is an aggregate"),
        ({"set": {"affinity#time": 1.0}}, 'attributes.set["affinity#time"]', "not an attribute"),
        ({"increment": {"tier": 1.0}}, 'attributes.increment["tier"]', "only numbers"),
        ({"increment": {"visits": float("-inf")}}, 'attributes.increment["visits"]', "finite"),
        ({"append": {"visits": ("x",)}}, 'attributes.append["visits"]', "only sets"),
        ({"remove": {"visits": ("x",)}}, 'attributes.remove["visits"]', "only sets"),
        ({"set": {"visits": 1.0}, "increment": {"visits": 1.0}}, 'attributes.increment["visits"]', "two ways"),
    ],
)
def test_update_that_does_not_fit_is_refused_with_its_path(updates: Any, field: str, words: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        compile_updates(AttributeUpdates(**updates), SCHEMA)

    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert refused.value.violations[0].field == field
    assert words in refused.value.violations[0].description


def test_setting_a_large_set_writes_all_its_columns() -> None:
    laid_out = schema(text_set("tags", *MANY))

    row = row_after(AttributeUpdates(set={"tags": ("member29",)}), laid_out=laid_out)

    assert row.tolist() == [0.0, float(1 << 5)]


@pytest.mark.parametrize("kind", ["append", "remove"])
def test_changing_members_of_a_large_missing_set_makes_all_its_columns_present(kind: str) -> None:
    laid_out = schema(text_set("tags", *MANY))

    row = row_after(AttributeUpdates(**{kind: {"tags": ("member29",)}}), laid_out=laid_out)  # type: ignore[arg-type]

    assert not np.isnan(row).any()


def test_further_columns_of_a_large_set_have_no_name_of_their_own() -> None:
    with pytest.raises(OpportuneError):
        compile_updates(AttributeUpdates(set={"tags#1": ("member0",)}), schema(text_set("tags", *MANY)))


def test_increments_stay_finite() -> None:
    most = AttributeUpdates(increment={"visits": 3e38})

    assert np.isfinite(row_after(most, most)[0])


def test_text_changes_nothing_in_a_row() -> None:
    assert compile_updates(AttributeUpdates(set={"email": "a@b.c"}), SCHEMA) == []
    assert compile_updates(AttributeUpdates(remove={"email": ()}), SCHEMA) == []
