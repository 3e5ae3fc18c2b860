from typing import Any, NamedTuple

import numpy as np
import pytest

from server.domain.attribute import BoolRow
from server.domain.cap import Cap, CapSubject
from server.domain.contact import KIND_MASK, ContactKind, ContactScope, ContactSubject, reached_bit
from server.domain.offer import Offer
from server.intelligence.caps import CapCounter, Capped, ContactColumns, Most, compile_families
from tests.support.catalogs import offer
from tests.support.clock import NOON_US

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
HOLD_US = 15 * MINUTE_US
UNCOUNTED = -1

OFFERS: list[Offer] = [
    offer("a", exclusion_group="drinks"),
    offer("b", exclusion_group="drinks"),
    offer("c"),
    offer("d", exclusion_group="snacks"),
]
SUBJECTS = [ContactSubject(o.id, "home", "web", o.tactic, o.exclusion_group) for o in OFFERS]
IMPRESSION, DECISION = ContactKind.IMPRESSION, ContactKind.DECISION
MANY = 100


class Event(NamedTuple):
    """A contact: what about, what, and how long ago."""

    subject: int
    kind: int
    age_us: int = 0
    reached: int = 0


def columns(*events: Event) -> ContactColumns:
    """Events as columns."""
    return ContactColumns(
        np.array([NOON_US - event.age_us for event in events], np.int64),
        np.array([event.kind | event.reached for event in events], np.int64),
        np.array([event.subject for event in events], np.int64),
    )


def families(cap: Cap, carriers: str = "abcd", condition: int = -1, channel: str = "web") -> Any:
    """One family."""
    return compile_families(OFFERS, [(cap, np.array([o.id in carriers for o in OFFERS]), condition)], channel)


def check(cap: Cap, *events: Event, carriers: str = "abcd", slots: int = 1, **more: Any) -> Capped:
    """What one cap says of these events."""
    subjects = more.pop("subjects", SUBJECTS)
    counter = CapCounter(families(cap, carriers, more.pop("condition", -1)), subjects, HOLD_US)
    return judged(counter, columns(*events) if events else None, slots, **more)


def judged(
    counter: CapCounter, events: ContactColumns | None, slots: int = 1, lifting: BoolRow | None = None
) -> Capped:
    return counter.judge(counter.count(events, NOON_US, lifting), Most(slots, slots), lifting)


def held(capped: Capped) -> str:
    """The offers that are held back."""
    return "".join(sorted(OFFERS[place].id for place in capped.offers.tolist()))


def cap(count: int = 1, window_us: int = HOUR_US, **more: Any) -> Cap:
    """A cap."""
    return Cap(count, window_us, **more)


def test_nobody_is_held_back_from_who_was_never_contacted() -> None:
    assert held(check(cap())) == ""


@pytest.mark.parametrize(("age_us", "expected"), [(0, "a"), (HOUR_US - 1, "a"), (HOUR_US, ""), (-HOUR_US, "a")])
def test_contact_counts_until_it_is_as_old_as_the_window_and_before_it_came(age_us: int, expected: str) -> None:
    assert held(check(cap(), Event(0, IMPRESSION, age_us))) == expected


@pytest.mark.parametrize(("age_us", "expected"), [(0, "a"), (HOLD_US - 1, "a"), (HOLD_US, "")])
def test_decision_holds_what_it_may_become_until_its_time_is_over(age_us: int, expected: str) -> None:
    for kind in (IMPRESSION, ContactKind.CLICK, ContactKind.ACCEPTED, ContactKind.CONVERTED):
        assert held(check(cap(on=kind), Event(0, DECISION, age_us))) == expected


def test_hold_is_longer_than_a_short_window() -> None:
    assert held(check(cap(window_us=MINUTE_US), Event(0, DECISION, 2 * MINUTE_US))) == "a"


def test_decision_holds_nothing_of_what_it_has_reached() -> None:
    reached = Event(0, DECISION, 0, reached_bit(IMPRESSION))

    assert held(check(cap(), reached)) == ""
    assert held(check(cap(), reached, Event(0, IMPRESSION, HOUR_US))) == ""
    assert held(check(cap(2), reached, Event(0, IMPRESSION))) == ""
    assert held(check(cap(on=ContactKind.CLICK), reached)) == "a"


def test_decision_counts_for_its_window_and_not_for_its_hold() -> None:
    on_decisions = cap(window_us=MINUTE_US, on=DECISION)

    assert held(check(on_decisions, Event(0, DECISION, MINUTE_US - 1))) == "a"
    assert held(check(on_decisions, Event(0, DECISION, MINUTE_US))) == ""


def test_nothing_is_held_for_a_refusal() -> None:
    on_declined = cap(on=ContactKind.DECLINED)

    assert held(check(on_declined, Event(0, DECISION))) == ""
    assert held(check(on_declined, Event(0, ContactKind.DECLINED))) == "a"


def test_only_its_own_kind_counts() -> None:
    for kind in list(ContactKind)[1:]:
        for other in list(ContactKind)[1:]:
            assert held(check(cap(on=kind), Event(0, other))) == ("a" if kind is other else "")


def test_count_is_how_many_may_be() -> None:
    assert held(check(cap(3), *[Event(0, IMPRESSION)] * 2)) == ""
    assert held(check(cap(3), *[Event(0, IMPRESSION)] * 3)) == "a"


@pytest.mark.parametrize(
    ("scope", "subject", "expected"),
    [
        (ContactScope.OFFER, 0, "a"),
        (ContactScope.EXCLUSION_GROUP, 0, "ab"),
        (ContactScope.EXCLUSION_GROUP, 2, ""),
        (ContactScope.EXCLUSION_GROUP, 3, "d"),
        (ContactScope.TACTIC, 0, "abcd"),
        (ContactScope.CHANNEL, 0, "abcd"),
        (ContactScope.ALL, 2, "abcd"),
    ],
)
def test_scope_says_what_counts_together(scope: ContactScope, subject: int, expected: str) -> None:
    assert held(check(cap(of=scope), Event(subject, IMPRESSION))) == expected


def test_contacts_on_another_channel_count_but_for_caps_of_the_channel() -> None:
    elsewhere = [subject._replace(channel="email") for subject in SUBJECTS]

    assert held(check(cap(of=ContactScope.CHANNEL), Event(0, IMPRESSION), subjects=elsewhere)) == ""
    assert held(check(cap(of=ContactScope.TACTIC), Event(0, IMPRESSION), subjects=elsewhere)) == "abcd"


def test_offers_that_do_not_carry_a_cap_count_and_are_not_held_back() -> None:
    assert held(check(cap(of=ContactScope.EXCLUSION_GROUP), Event(0, IMPRESSION), carriers="b")) == "b"


def test_offers_of_older_catalogs_count_by_what_they_were() -> None:
    gone = [ContactSubject("gone", "old", "web", "discount", "drinks")]

    assert held(check(cap(of=ContactScope.EXCLUSION_GROUP), Event(0, IMPRESSION), subjects=gone)) == "ab"
    assert held(check(cap(), Event(0, IMPRESSION), subjects=gone)) == ""


def test_condition_lifts_a_cap() -> None:
    lifted, kept = np.array([False, True]), np.array([True, False])

    assert held(check(cap(), Event(0, IMPRESSION), condition=1, lifting=lifted)) == ""
    assert held(check(cap(), Event(0, IMPRESSION), condition=1, lifting=kept)) == "a"
    assert held(check(cap(), Event(0, IMPRESSION), condition=-1, lifting=lifted)) == "a"


def test_lifted_cap_leaves_room_for_any_number() -> None:
    of_all = cap(2, of=ContactScope.ALL)

    assert not check(of_all, slots=5, condition=0, lifting=np.array([True])).rooms
    assert check(of_all, slots=5, condition=0, lifting=np.array([False])).rooms


def test_room_is_what_is_left_for_the_slots_of_the_decision() -> None:
    of_groups = cap(3, of=ContactScope.EXCLUSION_GROUP)

    capped = check(of_groups, Event(0, IMPRESSION), Event(1, IMPRESSION), Event(2, IMPRESSION), slots=3)

    assert held(capped) == ""
    (room,) = capped.rooms
    assert room.room[room.keys].tolist() == [1.0, 1.0, 3.0, 3.0]
    assert room.keys.tolist() == [0, 0, -1, 1]
    assert not room.of_channel


def test_room_for_more_than_the_slots_is_no_limit() -> None:
    of_all = cap(3, of=ContactScope.ALL)

    assert not check(of_all, slots=3).rooms
    assert check(of_all, slots=4).rooms
    assert check(of_all, Event(0, IMPRESSION), slots=3).rooms


def test_room_is_never_below_nothing() -> None:
    (room,) = check(cap(of=ContactScope.ALL), *[Event(0, IMPRESSION)] * 5, slots=2).rooms

    assert room.room.tolist() == [0.0]


def test_one_decision_leaves_room_for_others_where_it_cannot_fill_a_cap() -> None:
    assert not check(cap(), slots=9).rooms
    assert not check(cap(of=ContactScope.ALL, on=ContactKind.DECLINED), slots=9).rooms
    (room,) = check(cap(of=ContactScope.CHANNEL), slots=9).rooms
    assert room.of_channel


def test_what_is_not_counted_is_too_many_for_as_long_as_it_may_matter() -> None:
    gone = Event(UNCOUNTED, UNCOUNTED, 30 * MINUTE_US)

    assert held(check(cap(MANY), gone, carriers="ac")) == "ac"
    assert held(check(cap(MANY, 30 * MINUTE_US), gone)) == ""
    assert held(check(cap(MANY, 30 * MINUTE_US + 1), gone)) == "abcd"
    assert held(check(cap(MANY, of=ContactScope.EXCLUSION_GROUP), gone)) == "abd"
    assert held(check(cap(MANY), gone, condition=0, lifting=np.array([True]))) == ""


def test_what_is_not_counted_may_be_a_decision_that_holds() -> None:
    gone = Event(UNCOUNTED, UNCOUNTED, 10 * MINUTE_US)

    assert held(check(cap(MANY, MINUTE_US), gone)) == "abcd"
    assert held(check(cap(MANY, MINUTE_US, on=DECISION), gone)) == ""
    assert UNCOUNTED & KIND_MASK == 15


def test_family_says_who_holds_back() -> None:
    everybody = np.ones(4, np.bool_)
    both = compile_families(OFFERS, [(cap(5), everybody, -1), (cap(of=ContactScope.ALL), everybody, -1)], "web")

    capped = judged(CapCounter(both, SUBJECTS, HOLD_US), columns(Event(0, IMPRESSION)))

    assert capped.offers.tolist() == [0, 1, 2, 3]
    assert capped.families.tolist() == [1, 1, 1, 1]


def test_counter_learns_subjects_one_by_one_as_a_new_one_knows_them() -> None:
    set_of = compile_families(
        OFFERS, [(cap(2, of=scope), np.ones(4, np.bool_), -1) for scope in ContactScope], "web"
    )  # fmt: skip
    subjects: list[ContactSubject] = []
    counter = CapCounter(set_of, subjects, HOLD_US)
    for number in range(200):
        subjects.append(SUBJECTS[number % 4]._replace(placement_id=f"p{number}"))
        events = columns(
            Event(number, IMPRESSION), Event(number // 2, IMPRESSION), Event(UNCOUNTED, UNCOUNTED, 2 * HOUR_US)
        )

        known, fresh = (judged(each, events, 2) for each in (counter, CapCounter(set_of, subjects, HOLD_US)))

        assert sorted(zip(known.offers, known.families, strict=True)) == sorted(
            zip(fresh.offers, fresh.families, strict=True)
        )
        assert [room.room.tolist() for room in known.rooms] == [room.room.tolist() for room in fresh.rooms]


def test_catalog_without_offers_or_caps_holds_nothing_back() -> None:
    nothing = compile_families([], [(cap(of=scope), np.ones(0, np.bool_), -1) for scope in ContactScope], "web")
    no_caps = compile_families(OFFERS, [], "web")

    for set_of in (nothing, no_caps):
        capped = judged(CapCounter(set_of, SUBJECTS, HOLD_US), columns(*[Event(0, IMPRESSION)] * 3), 3)
        assert len(capped.offers) == 0


def test_family_of_nobody_holds_nobody_back() -> None:
    nobody = families(cap(of=ContactScope.EXCLUSION_GROUP, per=CapSubject.HOUSEHOLD), carriers="c")

    capped = judged(CapCounter(nobody, SUBJECTS, HOLD_US), columns(Event(UNCOUNTED, UNCOUNTED)))

    assert len(capped.offers) == 0
