from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from server.domain.attribute import Attribute, AttributeType, FloatRow, IntRow
from server.domain.profile import ConsentUpdate, Event
from server.input.columns import Block, CustomerColumns, TableLaidOutAnewError
from server.input.customers import customer_ids
from server.input.pages import PAGE_ROWS
from server.input.profiles import ProfileTable
from server.input.relayout import relayout
from server.input.variables import CHANNEL, VariableReader
from tests.support import crowds
from tests.support.catalogs import category, number, schema, timestamp, total
from tests.support.clock import NOON, TODAY, us_ago
from tests.support.tables import change, link, put, unlink

SCHEMA = schema(
    number("visits"),
    timestamp("last_visit"),
    Attribute("income", AttributeType.NUMBER, purpose="ads"),
    Attribute("distance", AttributeType.NUMBER, purpose="location"),
    total("revenue_7d", "purchase", "amount", 7),
)
NOW = TODAY + 0.5


def columns(table: ProfileTable, *names: str) -> CustomerColumns:
    return CustomerColumns(table, np.array([table.schema.columns[name] for name in names], np.intp))


def people(table: ProfileTable, blocks: Iterator[Block]) -> list[str]:
    """The customers of blocks, by name."""
    return [name for block in blocks for name in customer_ids(table, block.rows)]


def read(table: ProfileTable, name: str, now_days: float = NOW) -> dict[str, float]:
    """One column of every customer, by name."""
    found: dict[str, float] = {}
    for rows, values in columns(table, name).blocks(now_days):
        found |= dict(zip(customer_ids(table, rows), values[0].tolist(), strict=True))
    return found


def full_pages(count: int) -> ProfileTable:
    """A table of so many pages of customers `0`, `1` and so on, who have been here so many times."""
    table = ProfileTable(SCHEMA)
    for place in range(count * PAGE_ROWS):
        put(table, str(place), {"visits": float(place)})
    return table


def one_by_one(table: ProfileTable, rows: IntRow, now_days: float) -> FloatRow:
    """All columns of rows as decisions about them would read them: float32 [columns, rows]."""
    reader = VariableReader(table.schema, schema(category(CHANNEL, "web")))
    read = [reader.read(table.read_row(row), "web", {}, now_days)[: table.schema.width] for row in rows.tolist()]
    return np.ascontiguousarray(np.stack(read).T)


def test_table_without_customers_has_no_blocks() -> None:
    assert list(columns(ProfileTable(SCHEMA), "visits").blocks(NOW)) == []


def test_block_has_a_line_for_each_column_in_the_order_that_was_asked_for() -> None:
    table = ProfileTable(SCHEMA)
    put(table, "a", {"visits": 3.0})
    put(table, "b", {"visits": 4.0})
    change(table, "a", Event("purchase", {"amount": 2.5}))

    (block,) = columns(table, "revenue_7d", "visits", "revenue_7d").blocks(NOW)

    assert block.rows.tolist() == [0, 1]
    assert block.values.dtype == np.float32
    assert block.values.tolist() == [[2.5, 0.0], [3.0, 4.0], [2.5, 0.0]]


def test_no_columns_at_all_still_tell_who_is_a_customer() -> None:
    table = ProfileTable(SCHEMA)
    put(table, "a", {"visits": 3.0})

    (block,) = columns(table).blocks(NOW)

    assert (block.rows.tolist(), block.values.shape) == ([0], (0, 1))


def test_timestamp_is_an_age_and_a_missing_one_is_missing() -> None:
    table = ProfileTable(SCHEMA)
    put(table, "a", {"last_visit": NOON - timedelta(days=2, hours=12)})
    table.ensure("b")

    assert read(table, "last_visit") == pytest.approx({"a": 2.5, "b": np.nan}, abs=1e-3, nan_ok=True)


def test_column_is_missing_where_its_purpose_is_refused_and_no_other_column_is() -> None:
    table = ProfileTable(SCHEMA)
    for name, purposes in {"both": ("ads", "location"), "ads": ("ads",), "location": ("location",), "none": ()}.items():
        put(table, name, {"income": 1.0, "distance": 2.0, "visits": 3.0})
        for purpose in purposes:
            change(table, name, ConsentUpdate(purpose, True))

    (block,) = columns(table, "distance", "visits", "income").blocks(NOW)

    np.testing.assert_array_equal(block.values[0], [2, np.nan, 2, np.nan])
    np.testing.assert_array_equal(block.values[1], [3, 3, 3, 3])
    np.testing.assert_array_equal(block.values[2], [1, 1, np.nan, np.nan])


def test_consents_are_bits_by_purpose_of_any_rows() -> None:
    table = full_pages(2)
    last = 2 * PAGE_ROWS - 1
    change(table, "0", ConsentUpdate("location", True))
    change(table, str(last), ConsentUpdate("ads", True))
    change(table, "5", ConsentUpdate("ads", False))

    granted = columns(table).consents(np.array([last, 5, 0, last]))

    assert granted.dtype == np.uint32
    assert granted.tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize(("now_days", "sums"), [(NOW - 4, 1.0), (NOW, 7.0), (NOW + 3, 6.0), (NOW + 7, 0.0)])
def test_window_ends_on_the_day_that_is_asked_for(now_days: float, sums: float) -> None:
    table = ProfileTable(SCHEMA)
    table.ensure("nobody")
    change(table, "a", Event("purchase", {"amount": 1.0}), us_ago(days=4))
    change(table, "a", Event("purchase", {"amount": 2.0}), us_ago(days=3))
    change(table, "a", Event("purchase", {"amount": 4.0}))

    assert read(table, "revenue_7d", now_days) == {"nobody": 0.0, "a": sums}


def test_customer_of_several_identifiers_comes_once_with_what_they_come_to() -> None:
    table = ProfileTable(SCHEMA)
    put(table, "b", {"visits": 2.0})
    put(table, "alone", {"visits": 3.0})
    put(table, "a", {"visits": 1.0}, us_ago(days=1))
    change(table, "a", Event("purchase", {"amount": 1.0}))
    change(table, "b", Event("purchase", {"amount": 2.0}))

    link(table, "b", "a")

    assert read(table, "visits") == {"a": 2.0, "alone": 3.0}
    assert read(table, "revenue_7d") == {"a": 3.0, "alone": 0.0}


def test_customer_is_called_by_the_identifier_that_sorts_first() -> None:
    table = ProfileTable(SCHEMA)
    for left, right in [("z", "é"), ("é", "y"), ("m", "l")]:
        link(table, left, right)

    rows = np.array([table.graph.customer(table.find(name)) for name in ("l", "z")] + [table.find("m")])

    assert customer_ids(table, rows) == ["l", "y", "m"]


def test_parted_customers_are_their_own_again() -> None:
    table = ProfileTable(SCHEMA)
    put(table, "a", {"visits": 1.0})
    put(table, "b", {"visits": 2.0})

    link(table, "a", "b")
    unlink(table, "a", "b")

    assert read(table, "visits") == {"a": 1.0, "b": 2.0}


def test_erased_customers_are_gone_and_their_rows_are_other_customers_later() -> None:
    table = full_pages(1)
    change(table, "7", Event("purchase", {"amount": 2.0}))

    table.forget([7])

    assert "7" not in read(table, "visits")
    assert len(read(table, "visits")) == PAGE_ROWS - 1
    table.ensure("new")
    assert np.isnan(read(table, "visits")["new"])
    assert read(table, "revenue_7d")["new"] == 0.0


def test_page_whose_customers_are_all_gone_is_left_out() -> None:
    table = full_pages(3)

    table.forget(range(PAGE_ROWS, 2 * PAGE_ROWS))

    assert [block.rows[0] for block in columns(table, "visits").blocks(NOW)] == [0, 2 * PAGE_ROWS]


def test_customers_who_come_join_or_go_between_two_blocks_are_seen_as_they_are_then() -> None:
    table = full_pages(2)
    blocks = columns(table, "visits").blocks(NOW)
    first = next(blocks)
    before = first.values.copy()

    # The joined customer takes the row of the one before, `new` that of the very first, whose page has been read.
    table.forget([0, PAGE_ROWS])
    link(table, str(PAGE_ROWS + 1), str(PAGE_ROWS + 2))
    for name in ("new", "newer", "newest"):
        put(table, name, {"visits": -1.0})
    rest = people(table, blocks)

    stayed = [str(place) for place in range(PAGE_ROWS + 3, 2 * PAGE_ROWS)]
    assert rest == [str(PAGE_ROWS + 1), *stayed, "newer", "newest"]
    np.testing.assert_array_equal(first.values, before)


def test_values_are_copies_that_later_changes_leave_alone() -> None:
    table = full_pages(1)

    (block,) = columns(table, "visits").blocks(NOW)
    put(table, "3", {"visits": -1.0})
    block.values[0, 4] = -2.0

    assert block.values[0, 3] == 3.0
    assert read(table, "visits")["4"] == 4.0


def test_another_schema_ends_what_was_made_for_this_one() -> None:
    table = full_pages(2)
    some = columns(table, "visits")
    blocks = some.blocks(NOW)
    next(blocks)

    relayout(table, schema(number("income"), number("visits")))

    with pytest.raises(TableLaidOutAnewError):
        next(blocks)
    with pytest.raises(TableLaidOutAnewError):
        some.read(np.array([0]), NOW)
    with pytest.raises(TableLaidOutAnewError):
        some.consents(np.array([0]))


@pytest.mark.parametrize("now_days", [NOW - 40, NOW, NOW + 7 / 3])
def test_crowd_is_read_bit_by_bit_like_one_customer_after_the_other(now_days: float) -> None:
    # Several pages, runs of several sizes and amounts whose float64 sums depend on their order.
    table = crowds.crowd(3 * PAGE_ROWS + 100, bucketed=0.4, joined=0.3)
    every = CustomerColumns(table, np.arange(table.schema.width))

    for rows, values in every.blocks(now_days):
        assert values.tobytes() == one_by_one(table, rows, now_days).tobytes()


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_rows_in_any_order_are_read_like_one_after_the_other(share: float) -> None:
    table = crowds.crowd(3 * PAGE_ROWS + 100, bucketed=0.4, joined=0.3)
    in_use = np.setdiff1d(np.arange(table.identifiers.end), table.identifiers.free)
    rows = np.random.default_rng(1).permutation(in_use)[: int(len(in_use) * share)]

    values = CustomerColumns(table, np.arange(table.schema.width)).read(rows, NOW)

    assert values.tobytes() == one_by_one(table, rows, NOW).tobytes()
    customers = [table.graph.customer(row) for row in rows.tolist()]
    assert [table.graph.customer(table.find(name)) for name in customer_ids(table, rows)] == customers


def test_whole_page_is_read_in_the_order_that_was_asked_for() -> None:
    table = full_pages(1)
    rows = np.arange(PAGE_ROWS)[::-1].copy()

    np.testing.assert_array_equal(columns(table, "visits").read(rows, NOW), [rows])


def test_no_rows_have_no_columns() -> None:
    nobody = np.empty(0, np.intp)
    table = full_pages(1)

    assert columns(table, "visits", "income", "revenue_7d").read(nobody, NOW).shape == (3, 0)
    assert len(columns(table).consents(nobody)) == 0
    assert customer_ids(table, nobody) == []


def test_several_pages_at_once_are_those_pages_one_after_the_other() -> None:
    table = crowds.crowd(5 * PAGE_ROWS, bucketed=0.1, joined=0.1)
    for place in range(PAGE_ROWS + 5, 2 * PAGE_ROWS):
        table.forget([table.find(f"c{place}")])
    every = CustomerColumns(table, np.arange(table.schema.width))

    parts = [every.block(range(first, first + 1), NOW) for first in range(len(table.pages))]
    together = every.block(range(len(table.pages) + 3), NOW)

    assert together.rows.tolist() == [row for part in parts for row in part.rows.tolist()]
    assert together.values.tobytes() == np.concatenate([part.values for part in parts], axis=1).tobytes()
    assert together.values.tobytes() == every.read(together.rows, NOW).tobytes()


def test_there_is_nobody_behind_the_last_page() -> None:
    block = columns(full_pages(1), "visits").block(range(1, 4), NOW)

    assert len(block.rows) == 0
    assert block.values.shape == (1, 0)


def test_members_of_a_customer_on_another_page_are_no_customers_of_a_full_one() -> None:
    table = full_pages(1)
    link(table, "3", "7")

    blocks = list(columns(table, "visits").blocks(NOW))

    assert [len(block.rows) for block in blocks] == [PAGE_ROWS - 2, 1]
    assert table.find("3") not in blocks[0].rows
