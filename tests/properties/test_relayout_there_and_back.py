"""Another schema keeps what both declare, and the way there and back loses nothing that both declare."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from server.domain.attribute import Attribute, AttributeType, Schema, Value
from server.domain.profile import ConsentUpdate, Event
from server.input.digest import digest_of
from server.input.profiles import ProfileTable
from server.input.relayout import relayout
from tests.support.catalogs import boolean, category, count, decayed, keyed, last, number, text_set, total
from tests.support.clock import TODAY, us_ago
from tests.support.tables import attributes, change, put

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
        put(profiles, str(place), known, us_ago(hours=place))
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

    relayout(profiles, after)

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

    relayout(profiles, there)
    relayout(profiles, here)

    assert cells(profiles, common) == before


@given(st.permutations(["basic", "silver", "gold", "platinum"]), st.lists(VALUES["tier"], min_size=1, max_size=4))
def test_categories_keep_their_values_whatever_their_codes(values: list[str], tiers: list[Value]) -> None:
    profiles = filled(Schema((POOL[3],)), [{"tier": tier} for tier in tiers])

    relayout(profiles, Schema((category("tier", *values),)))

    assert cells(profiles, ["tier"]) == cells(filled(profiles.schema, [{"tier": tier} for tier in tiers]), ["tier"])


KEPT = (
    count("purchases", "buy"),
    total("revenue_7d", "buy", "amount", 7),
    count("bought_30d", "buy", 30, by="department", keys=("grocery", "floral")),
    last("last_purchase", "buy"),
    decayed("affinity", "buy", "amount", 5.0, by="department", keys=("floral", "grocery")),
)
PERSONAL = tuple(Attribute(f"of_{purpose}", AttributeType.NUMBER, purpose=purpose) for purpose in "pqr")

kept_schemas = st.permutations([*KEPT, *PERSONAL, *POOL[:2]]).map(lambda some: Schema(tuple(some)))
events = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(0, 40), st.integers(0, 9), st.sampled_from(["grocery", "floral"])
    ),
    max_size=12,
)
answers = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5), st.sampled_from("pqr"), st.booleans()), max_size=8
)


@given(kept_schemas, kept_schemas, events, answers, answers)
def test_aggregates_and_consents_with_their_times_go_along(
    before: Schema,
    after: Schema,
    happened: list[tuple[str, int, int, str]],
    answered: list[tuple[str, int, str, bool]],
    answered_then: list[tuple[str, int, str, bool]],
) -> None:
    moved, stayed = ProfileTable(before), ProfileTable(after)
    for profiles in (moved, stayed):
        for customer in "ab":
            put(profiles, customer, {})
        for customer, days, amount, department in happened:
            change(
                profiles, customer, Event("buy", {"amount": float(amount), "department": department}), us_ago(days=days)
            )
        for customer, hours, purpose, granted in answered:
            change(profiles, customer, ConsentUpdate(purpose, granted), us_ago(hours=hours))

    relayout(moved, after)

    for profiles in (moved, stayed):
        for customer, hours, purpose, granted in answered_then:
            change(profiles, customer, ConsentUpdate(purpose, granted), us_ago(hours=hours))
    assert digest_of(moved, TODAY) == digest_of(stayed, TODAY)
    for customer in "ab":
        assert attributes(moved, customer) == attributes(stayed, customer)
