"""Columns of many customers are bit by bit what reading one customer after the other gives."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.domain.attribute import FloatRow, IntRow
from server.domain.journal import Entry
from server.execution.facts import Facts
from server.execution.forgetting import forget
from server.input.columns import CustomerColumns
from server.input.customers import customer_ids
from server.input.variables import CHANNEL, VariableReader
from tests.properties.histories import CUSTOMERS, FIRST, SCHEMA, anything, known, links, requests, unlinks
from tests.support.catalogs import category, schema
from tests.support.clock import TODAY
from tests.support.folds import apply, captured, folded, linked, restored

CONTEXT = schema(category(CHANNEL, "web"))

times = st.one_of(st.integers(-60, 60).map(float), st.floats(-50, 50, width=32)).map(lambda days: TODAY + days)
histories = st.lists(st.one_of(requests, requests, links, unlinks), max_size=12)
chosen = st.lists(st.integers(0, SCHEMA.width - 1), max_size=2 * SCHEMA.width).map(lambda some: np.array(some, np.intp))
everything = st.just(np.arange(SCHEMA.width))


def one_by_one(facts: Facts, rows: Sequence[int], columns: IntRow, now_days: float) -> FloatRow:
    """The columns of rows, as a decision about each of them would read them: float32 [columns, rows]."""
    profiles = facts.profiles
    reader = VariableReader(profiles.schema, CONTEXT)
    values = np.empty((len(columns), len(rows)), np.float32)
    for place, row in enumerate(rows):
        values[:, place] = reader.read(profiles.read_row(row), "web", {}, now_days)[columns]
    return values


def customers(facts: Facts) -> dict[str, int]:
    """The row of each customer by the identifier that sorts first, found by asking for every identifier."""
    profiles = facts.profiles
    found: dict[str, int] = {}
    for customer_id in CUSTOMERS:
        row = profiles.find(customer_id)
        if row >= 0:
            found[min(map(profiles.name, profiles.members(row)))] = profiles.graph.customer(row)
    return found


def assert_agree(facts: Facts, columns: IntRow, now_days: float) -> None:
    """Everything that columns say is what rows say, and of all customers."""
    some = CustomerColumns(facts.profiles, columns)
    expected = customers(facts)

    blocks = list(some.blocks(now_days))

    rows = [row for block in blocks for row in block.rows.tolist()]
    assert sorted(rows) == sorted(expected.values())
    for block in blocks:
        slow = one_by_one(facts, block.rows.tolist(), columns, now_days)
        assert block.values.tobytes() == slow.tobytes(), (block.values, slow)
        assert dict(zip(customer_ids(facts.profiles, block.rows), block.rows.tolist(), strict=True)) == expected
        granted = [facts.profiles.pages[0].granted.item(row) for row in block.rows.tolist()]
        assert some.consents(block.rows).tolist() == granted


@given(histories, st.one_of(chosen, everything), st.lists(times, min_size=1, max_size=3))
def test_blocks_agree_with_rows_at_any_time(history: list[Entry], columns: IntRow, moments: list[float]) -> None:
    facts = folded([FIRST, *history])

    for now_days in moments:
        assert_agree(facts, columns, now_days)


@given(st.lists(anything, max_size=10), times)
def test_blocks_agree_with_rows_whatever_the_catalog_has_become(history: list[Entry], now_days: float) -> None:
    facts = folded([FIRST, *history])

    assert_agree(facts, np.arange(facts.profiles.schema.width), now_days)


@given(histories, times)
def test_blocks_agree_with_rows_after_a_snapshot(history: list[Entry], now_days: float) -> None:
    facts = restored(captured(folded([FIRST, *history])))

    assert_agree(facts, np.arange(SCHEMA.width), now_days)


@given(histories, histories, st.sets(st.sampled_from(CUSTOMERS)), times)
def test_the_same_columns_agree_with_rows_after_changes_and_erasures(
    before: list[Entry], after: list[Entry], erased: set[str], now_days: float
) -> None:
    facts = folded([FIRST, known(), linked("a", "b"), *before])
    profiles, columns = facts.profiles, np.arange(SCHEMA.width)
    some = CustomerColumns(profiles, columns)
    list(some.blocks(now_days))

    forget(facts, sorted(erased))
    apply(facts, *after)

    assert_agree(facts, columns, now_days)
    found = [row for block in some.blocks(now_days) for row in block.rows.tolist()]
    assert sorted(found) == sorted(customers(facts).values())


@given(histories, st.lists(st.sampled_from(CUSTOMERS), max_size=8), chosen, times)
def test_any_rows_in_any_order_agree_with_rows(
    history: list[Entry], asked: list[str], columns: IntRow, now_days: float
) -> None:
    # Also rows of identifiers that are not the row of their customer, and rows that are asked for twice.
    facts = folded([FIRST, known(), *history])
    rows = [facts.profiles.find(customer_id) for customer_id in asked]

    values = CustomerColumns(facts.profiles, columns).read(np.array(rows, np.intp), now_days)

    assert values.tobytes() == one_by_one(facts, rows, columns, now_days).tobytes()
