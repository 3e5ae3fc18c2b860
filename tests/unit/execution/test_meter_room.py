from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.budget import MICROS, Budget
from server.domain.cap import Cap, CapSubject
from server.domain.contact import ContactKind, ContactScope, Draw
from server.execution.meter_room import MeterRoom, Shortage
from server.input.meters import Meters
from server.intelligence.meter_limits import MeterLimits, compile_meter_limits
from tests.support.catalogs import offer
from tests.support.clock import NOON_US

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
OFFERS = [offer("a"), offer("b"), offer("c")]
ALL = np.ones(3, np.bool_)


def limits(*caps: Cap, budgets: tuple[Budget, ...] = ()) -> MeterLimits:
    """Limits over three offers."""
    return compile_meter_limits(OFFERS, [(each, ALL) for each in budgets], [(cap, ALL) for cap in caps], "web")


def shared(count: int, of: ContactScope = ContactScope.ALL, **more: Any) -> Cap:
    """A cap of everybody on decisions."""
    return Cap(count, HOUR_US, CapSubject.GLOBAL, of, more.get("on", ContactKind.DECISION))


def use(meters: Meters, meter: str, amount: int = MICROS, at_us: int = NOON_US) -> None:
    """Commits an amount."""
    draw = Draw(meter, ContactKind.DECISION, HOUR_US, amount)
    meters.decide([draw], 0, time_us=at_us, until_us=at_us, now_us=at_us)


def in_words(shortage: Shortage) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Offers with the places of their limits, and places of limits with what is left."""
    singles = list(zip(shortage.offers.tolist(), shortage.numbers.tolist(), strict=True))
    return singles, [(short.number, short.left) for short in shortage.limits]


def test_unused_meter_is_short_only_of_what_one_decision_may_take() -> None:
    room = MeterRoom(limits(shared(2)), Meters())

    assert in_words(room.short(NOON_US, 2)) == ([], [])
    assert in_words(room.short(NOON_US, 3)) == ([], [(0, 2 * MICROS)])


def test_decision_takes_no_more_than_there_are_offers() -> None:
    room = MeterRoom(limits(shared(3)), Meters())

    assert in_words(room.short(NOON_US, 100)) == ([], [])


def test_nothing_is_left_when_more_than_all_is_used() -> None:
    meters = Meters()
    use(meters, "cap:all::decision", 9 * MICROS)

    assert in_words(MeterRoom(limits(shared(2)), meters).short(NOON_US, 1)) == ([], [(0, 0)])


def test_limit_of_one_offer_is_short_when_it_has_none_left() -> None:
    meters = Meters()
    use(meters, "cap:offer:b:decision")

    room = MeterRoom(limits(shared(1, ContactScope.OFFER)), meters)

    assert in_words(room.short(NOON_US, 9)) == ([(1, 1)], [])


def test_refusals_are_short_only_when_there_were_too_many() -> None:
    meters = Meters()
    room = MeterRoom(limits(shared(1, on=ContactKind.DECLINED)), meters)
    assert in_words(room.short(NOON_US, 9)) == ([], [])

    meters.reach(
        [Draw("cap:all::declined", ContactKind.DECLINED, HOUR_US, MICROS)],
        [ContactKind.DECLINED],
        time_us=NOON_US,
        now_us=NOON_US,
    )
    room.forget(meters.changed_since(0))

    assert in_words(room.short(NOON_US, 9)) == ([], [(0, 0)])


def test_budget_without_limit_is_short_of_everything() -> None:
    room = MeterRoom(limits(budgets=(Budget("b", "", 0.0),)), Meters())

    assert in_words(room.short(NOON_US, 1)) == ([], [(0, 0)])


def test_what_ends_by_itself_is_noticed() -> None:
    meters = Meters()
    use(meters, "cap:all::decision")
    room = MeterRoom(limits(shared(1)), meters)

    answers = [in_words(room.short(NOON_US + later_us, 1))[1] for later_us in (0, HOUR_US - 1, HOUR_US, 5)]

    assert answers == [[(0, 0)], [(0, 0)], [], [(0, 0)]]


def test_without_limits_nothing_is_short() -> None:
    assert in_words(MeterRoom(limits(), Meters()).short(NOON_US, 9)) == ([], [])


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 1_600])
def test_catalog_without_offers_is_short_of_nothing(slots: int) -> None:
    nobody = np.ones(0, np.bool_)
    empty = compile_meter_limits([], [(Budget("b", "", 1.0), nobody)], [], "web")

    assert in_words(MeterRoom(empty, Meters()).short(NOON_US, slots)) == ([], [])


actions = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.sampled_from(["cap:all::decision", "cap:offer:a:decision", "budget:b"])),
        st.tuples(st.just("hold"), st.sampled_from(["budget:b", "budget:c"])),
        st.tuples(st.just("ask"), st.integers(0, 4)),
        st.tuples(st.just("wait"), st.integers(-20, 90)),
    ),
    max_size=60,
)


@given(actions)
def test_remembered_room_is_that_of_a_fresh_look(done: list[tuple[str, Any]]) -> None:
    budgets = Budget("b", "", 3.0, HOUR_US, on=ContactKind.DECISION), Budget("c", "", 2.0)
    compiled, meters = limits(shared(3), shared(1, ContactScope.OFFER), budgets=budgets), Meters()
    room, now_us, seen = MeterRoom(compiled, meters), NOON_US, 0
    for key, (action, argument) in enumerate(done):
        match action:
            case "use":
                use(meters, argument, at_us=now_us)
            case "hold":
                draw = Draw(argument, ContactKind.ACCEPTED, 0, MICROS)
                meters.decide([draw], key, time_us=now_us, until_us=now_us + 15 * MINUTE_US, now_us=now_us)
            case "wait":
                now_us += argument * MINUTE_US
            case "ask":
                room.forget(meters.changed_since(seen))
                seen = meters.changes

                known, fresh = (each.short(now_us, argument) for each in (room, MeterRoom(compiled, meters)))

                assert in_words(known) == in_words(fresh)
