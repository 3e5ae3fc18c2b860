"""Aggregates are worth what a slow reading of all events says, in whatever order the events came."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.attribute import Value
from server.domain.clock import microseconds_of
from server.domain.profile import Event, ProfileDelta
from server.execution.profiles import profile_of
from tests.support.catalogs import Document, catalog_document
from tests.support.clock import NOON
from tests.support.folds import captured, restored
from tests.support.service import Service

KEYS = ["grocery", "floral"]
TOLERANCE = 1e-4
"""A float32 has seven digits, and a decayed sum is scaled now and then."""

SMALLEST = 1e-37
"""Below that a float32 has fewer digits."""


class Reading(NamedTuple):
    """An event, as the reference sees it."""

    time: datetime
    amount: float
    key: str


class Sent(NamedTuple):
    """An event in its message; `again` messages before it are sent again behind it."""

    event: Reading
    again: int
    restarted: bool


def document(window_days: int, half_life_days: int) -> Document:
    """A catalog with an aggregate of each kind."""
    by = {"by": "department", "keys": KEYS}
    window, half_life = {"window": f"{window_days}d"}, {"half_life": f"{half_life_days}d"}
    buy: Document = {"event": "buy"}
    amount = {"property": "amount"}
    return catalog_document(
        attributes=[{"id": "visits", "type": "number"}],
        aggregates=[
            {"id": "count", "op": "count"} | buy,
            {"id": "sum", "op": "sum"} | buy | amount,
            {"id": "last", "op": "last"} | buy,
            {"id": "sum_window", "op": "sum"} | buy | amount | window,
            {"id": "decayed", "op": "decayed_sum"} | buy | amount | half_life,
            {"id": "count_by", "op": "count"} | buy | by,
            {"id": "last_by", "op": "last"} | buy | by,
            {"id": "count_window_by", "op": "count"} | buy | by | window,
            {"id": "decayed_by", "op": "decayed_sum"} | buy | amount | by | half_life,
        ],
    )


def reference(events: Sequence[Reading], window_days: int, half_life_days: int, now: datetime) -> dict[str, Value]:
    """What the aggregates are worth at a time, from all events, written down as plainly as can be."""
    worth: dict[str, Value] = {}
    for suffix, some in [("", list(events))] + [(key, [e for e in events if e.key == key]) for key in KEYS]:
        cell = f"_by.{suffix}" if suffix else ""
        window_cell = f"_window_by.{suffix}" if suffix else "_window"
        # A window is made of whole days in UTC, today and those before.
        first_day = now.date() - timedelta(days=window_days - 1)
        inside = [e for e in some if first_day <= e.time.date() <= now.date()]
        worth[f"count{cell}"] = float(len(some))
        if some:
            worth[f"last{cell}"] = max(e.time for e in some)
        ages = [(e.amount, (now - e.time) / timedelta(days=half_life_days)) for e in some]
        worth[f"decayed{cell}"] = math.fsum(amount * 2.0**-age for amount, age in ages)
        if suffix:
            worth[f"count{window_cell}"] = float(len(inside))
        else:
            worth["sum"] = math.fsum(e.amount for e in some)
            worth[f"sum{window_cell}"] = math.fsum(e.amount for e in inside)
    return worth


amounts = st.integers(-40, 400).map(lambda quarters: quarters / 4)
times = st.one_of(
    st.integers(0, 400 * 24 * 60).map(lambda minutes: NOON - timedelta(minutes=minutes)),
    # The ends of days, where windows begin and end.
    st.tuples(st.integers(0, 400), st.sampled_from([timedelta(0), -timedelta(microseconds=1)])).map(
        lambda day: datetime(2026, 11, 22, tzinfo=UTC) - timedelta(days=day[0]) + day[1]
    ),
)
readings = st.builds(Reading, times, amounts, st.sampled_from([*KEYS, "tools"]))
sent = st.lists(st.builds(Sent, readings, st.integers(0, 3), st.sampled_from([False] * 7 + [True])), max_size=30)


def delta(event: Reading) -> ProfileDelta:
    properties: dict[str, Value] = {"amount": event.amount, "department": event.key}
    return ProfileDelta("customer:1", microseconds_of(event.time), Event("buy", properties))


def assert_worth(found: dict[str, Value], expected: dict[str, Value], scale: float) -> None:
    """Everything expected is found, and nothing else."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, datetime):
            time = found[name]
            assert isinstance(time, datetime)
            # A float32 of days tells 21 seconds apart in 2026.
            assert abs(time - value) <= timedelta(seconds=11), name
        elif name.startswith("decayed"):
            # Amounts of both signs may cancel out, but not what was rounded away of each.
            assert found[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE * scale + SMALLEST), name
        else:
            assert found[name] == value, name


@given(sent, st.integers(1, 365), st.integers(1, 120), st.lists(st.integers(0, 800 * 24), min_size=1, max_size=3))
def test_aggregates_are_worth_what_all_events_together_say(
    messages: list[Sent], window_days: int, half_life_days: int, hours_later: list[int]
) -> None:
    service = Service(document(window_days, half_life_days))
    for number, message in enumerate(messages, start=1):
        service.apply_deltas("shop", number, [delta(message.event)])
        if message.restarted:
            service.state.facts = restored(captured(service.state.facts))
        for again in range(max(number - message.again, 1), number + 1):
            service.apply_deltas("shop", again, [delta(messages[again - 1].event)])

    events = [message.event for message in messages]
    profiles = service.state.profiles
    for hours in hours_later if messages else []:
        now = NOON + timedelta(hours=hours)
        row = profiles.find("customer:1")
        found = dict(profile_of(profiles, "customer:1", row, [row], now).attributes)
        scale = math.fsum(abs(e.amount) * 2.0 ** -((now - e.time) / timedelta(days=half_life_days)) for e in events)
        assert_worth(found, reference(events, window_days, half_life_days, now), scale)


@given(st.lists(readings, min_size=9, max_size=40), st.integers(1, 60))
def test_days_that_no_window_reaches_any_more_are_let_go_of_without_being_missed(
    events: list[Reading], window_days: int
) -> None:
    # More days than the smallest run of buckets has, and events in the order of time now and then.
    events = sorted(events[: len(events) // 2], key=lambda event: event.time) + events[len(events) // 2 :]
    service = Service(document(window_days, 7))
    for event in events:
        service.clock.now = max(NOON - timedelta(days=400), event.time)
        service.apply_deltas("shop", 0, [delta(event)])

    now = max(event.time for event in events)
    profiles = service.state.profiles
    row = profiles.find("customer:1")
    found = profile_of(profiles, "customer:1", row, [row], now).attributes

    assert found["sum_window"] == reference(events, window_days, 7, now)["sum_window"]
