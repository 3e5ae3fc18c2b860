from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from server.domain.attribute import Value, days_since_epoch
from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.profile import Event
from server.input.aggregates import MAX_PROPERTIES, Aggregates
from server.input.profiles import ProfileTable
from server.input.variables import VariableReader
from tests.support.catalogs import category, count, decayed, last, number, schema, total
from tests.support.clock import NOON, us_ago
from tests.support.tables import attributes, change, put, row_of, table

KEYS = ("grocery", "floral")
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


def buy(profiles: ProfileTable, time_us: int, customer_id: str = "a", /, **properties: Value) -> None:
    change(profiles, customer_id, Event("purchase", properties), time_us)


def problem(profiles: ProfileTable, event: Event) -> tuple[str, str]:
    with pytest.raises(OpportuneError) as refused:
        profiles.aggregates.compile(event, us_ago())
    assert refused.value.reason is ErrorReason.INVALID_FIELD
    return refused.value.violations[0].field, refused.value.violations[0].description


def test_counts_and_sums_begin_at_zero_and_last_times_are_missing() -> None:
    profiles = table(
        number("visits"), count("n", "purchase"), total("s", "purchase", "amount", 7), last("l", "purchase"),
        decayed("d", "purchase", "amount", 7.0),
    )  # fmt: skip

    put(profiles, "a", {})

    assert attributes(profiles, "a") == {"n": 0.0, "s": 0.0, "d": 0.0}


def test_count_counts_events_of_its_type_alone() -> None:
    profiles = table(count("n", "purchase"), count("views", "view"))

    for days in (1, 500, 2):
        buy(profiles, us_ago(days=days))
    change(profiles, "a", Event("view"))

    assert attributes(profiles, "a") == {"n": 3.0, "views": 1.0}


def test_sum_adds_a_property_up() -> None:
    profiles = table(total("s", "purchase", "amount"))

    for amount in (2.5, -1.0, 4.0):
        buy(profiles, us_ago(), amount=amount)

    assert attributes(profiles, "a") == {"s": 5.5}


def test_last_is_the_latest_time_in_whatever_order_events_come() -> None:
    profiles = table(last("l", "purchase"))

    for days in (5, 2, 9):
        buy(profiles, us_ago(days=days))

    found = attributes(profiles, "a")["l"]
    assert isinstance(found, datetime)
    assert abs(found - (NOON - timedelta(days=2))) <= timedelta(seconds=11)


def test_decayed_sum_counts_half_after_each_half_life() -> None:
    profiles = table(decayed("d", "purchase", "amount", 10.0))

    buy(profiles, us_ago(days=20), amount=8.0)
    buy(profiles, us_ago(days=10), amount=4.0)
    buy(profiles, us_ago(), amount=1.0)

    assert attributes(profiles, "a")["d"] == pytest.approx(5.0)
    assert attributes(profiles, "a", NOON + timedelta(days=10))["d"] == pytest.approx(2.5)


def test_late_event_counts_in_a_decayed_sum_as_if_it_had_come_in_time() -> None:
    in_time, late = table(decayed("d", "purchase", "amount", 3.0)), table(decayed("d", "purchase", "amount", 3.0))

    for profiles, order in ((in_time, (400, 30, 0)), (late, (0, 400, 30))):
        for days in order:
            buy(profiles, us_ago(days=days), amount=100.0)

    assert attributes(late, "a")["d"] == pytest.approx(attributes(in_time, "a")["d"], rel=1e-6)


def test_years_without_events_leave_nothing_of_a_decayed_sum() -> None:
    profiles = table(decayed("d", "purchase", "amount", 0.5))

    buy(profiles, microseconds_of(datetime(1990, 1, 1, tzinfo=UTC)), amount=100.0)
    buy(profiles, us_ago(), amount=1.0)

    assert attributes(profiles, "a") == {"d": 1.0}
    assert attributes(profiles, "a", NOON + timedelta(days=3_650)) == {"d": 0.0}


@pytest.mark.parametrize(
    ("event_time", "days", "counts"),
    [
        (MIDNIGHT, 0, True),
        (MIDNIGHT, 6, True),
        (MIDNIGHT, 7, False),
        (MIDNIGHT - timedelta(microseconds=1), 6, False),
        (MIDNIGHT - timedelta(microseconds=1), 5, True),
        (MIDNIGHT + timedelta(hours=24) - timedelta(microseconds=1), 6, True),
        (MIDNIGHT + timedelta(hours=24), 7, True),
    ],
)
def test_event_counts_on_its_own_day_and_on_the_days_of_its_window_after_it(
    event_time: datetime, days: int, counts: bool
) -> None:
    profiles = table(count("n", "purchase", window_days=7))

    buy(profiles, microseconds_of(event_time))

    for moment in (MIDNIGHT, MIDNIGHT + timedelta(hours=24) - timedelta(seconds=1)):
        assert attributes(profiles, "a", moment + timedelta(days=days)) == {"n": float(counts)}


def test_window_of_one_day_is_today() -> None:
    profiles = table(count("n", "purchase", window_days=1))

    buy(profiles, us_ago())

    days = [attributes(profiles, "a", NOON + timedelta(days=days))["n"] for days in (-1, 0, 1)]
    assert days == [0.0, 1.0, 0.0]


def test_event_of_a_day_to_come_does_not_count_yet() -> None:
    profiles = table(count("n", "purchase", window_days=30), count("ever", "purchase"))

    buy(profiles, us_ago(days=-2))

    counts = [attributes(profiles, "a", NOON + timedelta(days=days))["n"] for days in (0, 1, 2, 31, 32)]
    assert counts == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert attributes(profiles, "a")["ever"] == 1.0


def test_window_of_the_most_days_reaches_back_a_year() -> None:
    profiles = table(count("n", "purchase", window_days=365))

    for days in (0, 364, 365, 400):
        buy(profiles, us_ago(days=days))

    assert attributes(profiles, "a") == {"n": 2.0}


def test_windows_of_different_lengths_are_kept_beside_each_other() -> None:
    profiles = table(*(total(f"s{days}", "purchase", "amount", days) for days in (1, 7, 30)))

    for days in range(40):
        buy(profiles, us_ago(days=days), amount=1.0)

    assert attributes(profiles, "a") == {"s1": 1.0, "s7": 7.0, "s30": 30.0}


def test_each_key_has_an_aggregate_of_its_own() -> None:
    by: dict[str, Any] = {"by": "department", "keys": KEYS}
    profiles = table(
        count("n", "purchase", **by), total("w", "purchase", "amount", 7, **by), last("l", "purchase", **by),
        decayed("d", "purchase", "amount", 10.0, **by),
    )  # fmt: skip

    buy(profiles, us_ago(days=10), amount=8.0, department="floral")

    found = attributes(profiles, "a")
    assert found.keys() == {"n.grocery", "n.floral", "w.grocery", "w.floral", "l.floral", "d.grocery", "d.floral"}
    assert (found["n.floral"], found["w.floral"], found["n.grocery"]) == (1.0, 0.0, 0.0)
    assert found["d.floral"] == pytest.approx(4.0)


def test_cells_of_a_decayed_sum_decay_together_whichever_gets_an_event() -> None:
    profiles = table(decayed("d", "purchase", "amount", 10.0, by="department", keys=KEYS))

    buy(profiles, us_ago(days=20), amount=8.0, department="floral")
    buy(profiles, us_ago(), amount=1.0, department="grocery")
    buy(profiles, us_ago(days=10), amount=2.0, department="floral")

    found = attributes(profiles, "a")
    assert found == {"d.grocery": pytest.approx(1.0), "d.floral": pytest.approx(3.0)}


def test_key_that_nothing_has_changes_nothing_but_is_no_mistake() -> None:
    profiles = table(count("n", "purchase", by="department", keys=KEYS), count("all", "purchase"))

    buy(profiles, us_ago(), department="tools")

    assert attributes(profiles, "a") == {"n.grocery": 0.0, "n.floral": 0.0, "all": 1.0}


@pytest.mark.parametrize(("key", "cell"), [(13.0, "n.13"), ("13", "n.13"), (2.5, "n.2.5"), (True, "n.True")])
def test_number_picks_the_key_that_it_is_written_as(key: Value, cell: str) -> None:
    profiles = table(count("n", "purchase", by="level", keys=("13", "2.5", "True")))

    buy(profiles, us_ago(), level=key)

    assert attributes(profiles, "a")[cell] == 1.0


def test_event_that_no_aggregate_takes_is_refused() -> None:
    profiles = table(count("n", "purchase"))

    assert problem(profiles, Event("purchases")) == (
        "event.type", "no aggregate of the catalog takes events of this type; did you mean purchase?"
    )  # fmt: skip
    assert problem(profiles, Event(""))[0] == "event.type"
    assert problem(table(number("n")), Event("purchase"))[0] == "event.type"


@pytest.mark.parametrize(
    ("properties", "field", "words"),
    [
        ({}, 'event.properties["amount"]', "is required"),
        ({"amount": "much", "department": "x"}, 'event.properties["amount"]', "finite number"),
        ({"amount": True, "department": "x"}, 'event.properties["amount"]', "finite number"),
        ({"amount": float("nan"), "department": "x"}, 'event.properties["amount"]', "finite number"),
        ({"amount": float("-inf"), "department": "x"}, 'event.properties["amount"]', "finite number"),
        ({"amount": 1e39, "department": "x"}, 'event.properties["amount"]', "32-bit"),
        ({"amount": ("1",), "department": "x"}, 'event.properties["amount"]', "finite number"),
        ({"amount": 1.0}, 'event.properties["department"]', "is required: s is kept by it"),
    ],
)
def test_event_without_what_an_aggregate_needs_is_refused_with_its_path(
    properties: dict[str, Value], field: str, words: str
) -> None:
    profiles = table(total("s", "purchase", "amount", by="department", keys=KEYS))

    found = problem(profiles, Event("purchase", properties))

    assert found[0] == field
    assert words in found[1]


def test_properties_that_no_aggregate_asks_for_may_be_anything() -> None:
    profiles = table(count("n", "purchase"))

    buy(profiles, us_ago(), shop="downtown", items=("a", "b"), time=NOON)

    assert attributes(profiles, "a") == {"n": 1.0}


def test_event_with_too_many_properties_is_refused() -> None:
    event = Event("purchase", {f"p{number}": 1.0 for number in range(MAX_PROPERTIES + 1)})

    assert problem(table(count("n", "purchase")), event)[0] == "event.properties"


def test_sum_stops_at_what_a_float32_holds() -> None:
    profiles = table(total("s", "purchase", "amount"))

    for _ in range(3):
        buy(profiles, us_ago(), amount=3e38)

    assert np.isfinite(row_of(profiles, "a").values).all()


@pytest.mark.parametrize(
    "aggregate",
    [total("s", "purchase", "amount", 7), decayed("s", "purchase", "amount", 10.0)],
    ids=["window", "decayed"],
)
def test_windows_and_decayed_sums_stop_there_too(aggregate: object) -> None:
    profiles = table(aggregate)  # type: ignore[arg-type]

    for _ in range(3):
        buy(profiles, us_ago(days=1), amount=3e38)

    worth = attributes(profiles, "a")["s"]
    assert isinstance(worth, float)
    assert np.isfinite(worth)


def test_sum_of_large_days_stops_there_too() -> None:
    profiles = table(total("s", "purchase", "amount", 7))

    for days in range(3):
        buy(profiles, us_ago(days=days), amount=3e38)

    worth = attributes(profiles, "a")["s"]
    assert isinstance(worth, float)
    assert np.isfinite(worth)


def test_event_dated_far_ahead_counts_as_one_of_tomorrow_in_a_decayed_sum() -> None:
    profiles = table(decayed("d", "purchase", "amount", 10.0))
    buy(profiles, us_ago(), amount=8.0)

    buy(profiles, microseconds_of(datetime(2199, 1, 1, tzinfo=UTC)), amount=1.0)

    assert attributes(profiles, "a")["d"] == pytest.approx(8.0 + 2.0**0.1, rel=1e-4)


def test_landmarks_are_no_attributes() -> None:
    profiles = table(decayed("d", "purchase", "amount", 10.0))

    buy(profiles, us_ago(), amount=8.0)

    assert attributes(profiles, "a").keys() == {"d"}


def test_decisions_read_windows_decayed_sums_and_last_times_at_their_own_time() -> None:
    customer = schema(
        count("week", "purchase", 7), last("last", "purchase"), decayed("d", "purchase", "amount", 10.0),
        count("secret", "purchase", purpose="p"),
    )  # fmt: skip
    profiles = ProfileTable(customer)
    buy(profiles, us_ago(days=5), amount=8.0)
    reader = VariableReader(customer, schema(category("channel", "web")))

    now, later = (
        reader.read(profiles.read("a"), "web", {}, days_since_epoch(time)) for time in (NOON, NOON + timedelta(days=5))
    )

    columns = [customer.columns[name] for name in ("week", "last", "d", "secret")]
    np.testing.assert_allclose(now[columns], [1.0, 5.0, 8.0 * 2**-0.5, np.nan], rtol=1e-4)
    np.testing.assert_allclose(later[columns], [0.0, 10.0, 4.0, np.nan], rtol=1e-4)


def test_reading_leaves_the_row_alone() -> None:
    profiles = table(count("week", "purchase", 7), decayed("d", "purchase", "amount", 10.0))
    buy(profiles, us_ago(days=5), amount=8.0)
    before = row_of(profiles, "a").values.copy()

    first, second = attributes(profiles, "a"), attributes(profiles, "a")

    assert first == second
    np.testing.assert_array_equal(row_of(profiles, "a").values, before)


def test_schema_without_aggregates_has_none() -> None:
    aggregates = Aggregates(schema(number("visits")))

    assert aggregates.decayed == []
    assert np.isnan(aggregates.blank).all()
    assert aggregates.windows.tolist() == [0]


def test_customer_of_whom_nothing_is_known_is_read_like_one_without_events() -> None:
    customer = schema(number("visits"), count("week", "purchase", 7), last("last", "purchase"))
    profiles = ProfileTable(customer)
    put(profiles, "known", {})
    reader = VariableReader(customer, schema(category("channel", "web")))

    known, unknown = (
        reader.read(profiles.read(each), "web", {}, days_since_epoch(NOON)) for each in ("known", "unknown")
    )

    np.testing.assert_array_equal(unknown, known)
