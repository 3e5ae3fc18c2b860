"""Another schema keeps what both declare, and the way there and back loses nothing that both declare."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from server.domain.attribute import Attribute, AttributeType, Schema, Value
from server.domain.profile import AttributeUpdates
from server.input.deltas import compile_updates
from server.input.profiles import ProfileTable
from tests.support.catalogs import boolean, category, keyed, number, text_set

POOL = (
    number("visits"),
    number("score"),
    boolean("member"),
    category("tier", "basic", "silver", "gold"),
    text_set("tags", *(f"tag{n}" for n in range(30))),
    keyed("spend", "department", "grocery", "floral"),
    Attribute("income", AttributeType.NUMBER, purpose="personalization"),
)
VALUES: Mapping[str, st.SearchStrategy[Value]] = {
    "visits": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "score": st.integers(-5, 5).map(float),
    "member": st.booleans(),
    "tier": st.sampled_from(["basic", "silver", "gold"]),
    "tags": st.lists(st.sampled_from([f"tag{n}" for n in range(30)]), unique=True).map(tuple),
    "spend.grocery": st.integers(0, 9).map(float),
    "spend.floral": st.integers(0, 9).map(float),
    "income": st.integers(0, 9).map(float),
}

schemas = st.lists(st.sampled_from(POOL), unique_by=lambda attribute: attribute.id).map(
    lambda some: Schema(tuple(some))
)
people = st.lists(st.fixed_dictionaries({}, optional=dict(VALUES)), min_size=1, max_size=4)


def filled(schema: Schema, everybody: list[dict[str, Value]]) -> ProfileTable:
    """A table of these customers, as far as the schema declares what is known about them."""
    profiles = ProfileTable(schema)
    for place, person in enumerate(everybody):
        known = {name: value for name, value in person.items() if name in schema.columns}
        profiles.update(str(place), compile_updates(AttributeUpdates(set=known), schema), place, 0.0)
    return profiles


def cells(profiles: ProfileTable, names: list[str]) -> list[list[bytes]]:
    """The named columns of every customer, bit by bit."""
    found = []
    for place in range(len(profiles)):
        row = profiles.read(str(place))
        assert row is not None
        found.append([row.values[profiles.schema.columns[name]].tobytes() for name in names])
    return found


@given(schemas, schemas, people)
def test_common_columns_keep_their_values_and_new_ones_are_missing(
    before: Schema, after: Schema, everybody: list[dict[str, Value]]
) -> None:
    common = [name for name in before.columns if name in after.columns]
    profiles = filled(before, everybody)
    kept = cells(profiles, common)

    profiles.relayout(after)

    assert cells(profiles, common) == kept
    new = [name for name in after.columns if name not in before.columns]
    assert cells(profiles, new) == cells(filled(after, [{}] * len(everybody)), new)


@given(schemas, schemas, people)
def test_there_and_back_is_the_identity_for_common_columns(
    here: Schema, there: Schema, everybody: list[dict[str, Value]]
) -> None:
    common = [name for name in here.columns if name in there.columns]
    profiles = filled(here, everybody)
    before = cells(profiles, common)

    profiles.relayout(there)
    profiles.relayout(here)

    assert cells(profiles, common) == before


@given(st.permutations(["basic", "silver", "gold", "platinum"]), st.lists(VALUES["tier"], min_size=1, max_size=4))
def test_categories_keep_their_values_whatever_their_codes(values: list[str], tiers: list[Value]) -> None:
    profiles = filled(Schema((POOL[3],)), [{"tier": tier} for tier in tiers])

    profiles.relayout(Schema((category("tier", *values),)))

    assert cells(profiles, ["tier"]) == cells(filled(profiles.schema, [{"tier": tier} for tier in tiers]), ["tier"])
