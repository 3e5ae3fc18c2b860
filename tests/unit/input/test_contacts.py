from typing import Any

import numpy as np
import pytest

from server.domain.contact import ContactKind, reached_bit
from server.input.contacts import (
    LARGEST_RUN,
    UNCOUNTED,
    Contacts,
    Events,
    Reached,
    decision_words,
    joined,
    outcome_words,
)
from server.input.pages import SavedPage
from tests.support.clock import NOON_US

ROW = 7
MINUTE_US = 60_000_000
HORIZON_US = 30 * 86_400_000_000
KEEP = 0
"""An oldest time that lets nothing go."""

EVER_US = 0, 1 << 62


def of(contacts: Contacts, row: int = ROW) -> Events:
    """The events of a row that has some."""
    events = contacts.read(row)
    assert events is not None
    return events


def decided(*subjects: int, number: int = 1, time_us: int = NOON_US) -> Contacts:
    """Contacts with one decision."""
    contacts = Contacts()
    contacts.add(ROW, time_us, number, decision_words(subjects), KEEP)
    return contacts


def saved(contacts: Contacts) -> dict[str, list[dict[str, Any]]]:
    """Its pages by name."""
    pages: dict[str, list[SavedPage]] = {}
    for page in contacts.capture():
        pages.setdefault(page.name, []).append(page)
    return {name: [dict(page.arrays) for page in sorted(of, key=lambda p: p.number)] for name, of in pages.items()}


def test_row_without_contacts_has_none() -> None:
    assert Contacts().read(ROW) is None
    assert decided(3).read(ROW + 1) is None


def test_decision_is_an_event_for_each_slot() -> None:
    events = of(decided(3, 5, 3, number=9))

    assert events.subjects.tolist() == [3, 5, 3]
    assert events.slots.tolist() == [0, 1, 2]
    assert events.kinds.tolist() == [ContactKind.DECISION] * 3
    assert events.numbers.tolist() == [9] * 3
    assert events.times_us.tolist() == [NOON_US] * 3
    assert events.reached.tolist() == events.states.tolist() == [0, 0, 0]


def test_largest_decision_keeps_slots_and_subjects_apart() -> None:
    subjects = [1_000_000 + slot for slot in range(1_600)]

    events = of(decided(*subjects))

    assert events.slots.tolist() == list(range(1_600))
    assert events.subjects.tolist() == subjects


def test_outcome_adds_every_stage_that_it_is_the_first_to_reach() -> None:
    contacts = decided(3, 5)

    first = contacts.reach(ROW, 1, 1, (ContactKind.CLICK, NOON_US + 1), KEEP)
    second = contacts.reach(ROW, 1, 1, (ContactKind.CONVERTED, NOON_US + 2), KEEP)
    third = contacts.reach(ROW, 1, 1, (ContactKind.CLICK, NOON_US + 3), KEEP)

    assert first == Reached(5, NOON_US, (ContactKind.IMPRESSION, ContactKind.CLICK))
    assert second == Reached(5, NOON_US, (ContactKind.ACCEPTED, ContactKind.CONVERTED))
    assert third == Reached(5, NOON_US, ())
    events = of(contacts)
    assert events.kinds.tolist() == [
        0,
        0,
        ContactKind.IMPRESSION,
        ContactKind.CLICK,
        ContactKind.ACCEPTED,
        ContactKind.CONVERTED,
    ]
    assert events.subjects.tolist() == [3, 5, 5, 5, 5, 5]
    assert events.times_us.tolist()[2:] == [NOON_US + 1, NOON_US + 1, NOON_US + 2, NOON_US + 2]


def test_decision_knows_what_was_reached() -> None:
    contacts = decided(3, 5)

    contacts.reach(ROW, 1, 1, (ContactKind.DECLINED, NOON_US), KEEP)

    states = of(contacts).states.tolist()
    assert states[0] == 0
    assert states[1] == reached_bit(ContactKind.IMPRESSION) | reached_bit(ContactKind.DECLINED)


def test_nothing_happens_before_it_was_decided() -> None:
    contacts = decided(3)

    contacts.reach(ROW, 1, 0, (ContactKind.IMPRESSION, NOON_US - MINUTE_US), KEEP)

    assert of(contacts).times_us.tolist() == [NOON_US, NOON_US]


@pytest.mark.parametrize(("row", "number", "slot"), [(ROW + 1, 1, 0), (ROW, 2, 0), (ROW, 1, 1)])
def test_outcome_of_an_unknown_decision_is_none(row: int, number: int, slot: int) -> None:
    contacts = decided(3)

    assert contacts.reach(row, number, slot, (ContactKind.CLICK, NOON_US), KEEP) is None
    assert len(of(contacts).words) == 1


def test_latest_is_the_last_decision_about_one_of_the_subjects() -> None:
    contacts = decided(3, number=1)
    contacts.add(ROW, NOON_US + 1, 2, decision_words([4, 3]), KEEP)
    contacts.add(ROW, NOON_US + 2, 3, decision_words([4]), KEEP)
    contacts.add(ROW, NOON_US + 3, 0, outcome_words(3, 0, (ContactKind.IMPRESSION,)), KEEP)

    assert contacts.latest(ROW, np.array([3]), EVER_US, 9) == (2, 1)
    assert contacts.latest(ROW, np.array([3, 4]), EVER_US, 9) == (3, 0)
    assert contacts.latest(ROW, np.array([3, 4]), EVER_US, 2) in [(2, 0), (2, 1)]
    assert contacts.latest(ROW, np.array([5]), EVER_US, 9) is None
    assert contacts.latest(ROW + 1, np.array([3]), EVER_US, 9) is None


def test_latest_is_between_two_times_inclusive() -> None:
    contacts = decided(3)

    assert contacts.latest(ROW, np.array([3]), (NOON_US, NOON_US), 9) == (1, 0)
    assert contacts.latest(ROW, np.array([3]), (NOON_US + 1, NOON_US + 2), 9) is None
    assert contacts.latest(ROW, np.array([3]), (NOON_US - 2, NOON_US - 1), 9) is None


def test_events_behind_the_horizon_go_when_their_room_is_needed() -> None:
    contacts = decided(*range(8), time_us=NOON_US - HORIZON_US)

    contacts.add(ROW, NOON_US, 2, decision_words([9]), NOON_US - HORIZON_US)

    assert of(contacts).subjects.tolist() == [9]


def test_events_within_the_horizon_stay() -> None:
    contacts = decided(*range(8), time_us=NOON_US - HORIZON_US + 1)

    contacts.add(ROW, NOON_US, 2, decision_words([9]), NOON_US - HORIZON_US)

    assert len(of(contacts).words) == 9


def test_more_events_than_a_run_holds_leave_one_for_all_that_went() -> None:
    contacts = Contacts()
    for number in range(LARGEST_RUN):
        contacts.add(ROW, NOON_US + number, number + 1, decision_words([5]), KEEP)
    assert UNCOUNTED not in of(contacts).kinds

    contacts.add(ROW, NOON_US - 1, LARGEST_RUN + 1, decision_words([6, 7]), KEEP)

    events = of(contacts)
    assert len(events.words) == LARGEST_RUN
    places = (events.kinds == UNCOUNTED).nonzero()[0]
    assert len(places) == 1
    place = int(places[0])
    # Gone are the two that came late and the first one, in whose place it is.
    assert events.times_us[place] == NOON_US
    assert (events.subjects[place], events.numbers[place]) == (-1, 0)
    assert sorted(events.times_us.tolist()) == [NOON_US + number for number in range(LARGEST_RUN)]


def test_what_was_let_go_twice_is_as_late_as_the_latest_of_it() -> None:
    contacts = Contacts()
    for number in range(LARGEST_RUN + 10):
        contacts.add(ROW, NOON_US + number, number + 1, decision_words([5]), KEEP)

    events = of(contacts)

    assert events.times_us[events.kinds == UNCOUNTED].tolist() == [NOON_US + 10]


def test_events_of_several_identifiers_are_joined() -> None:
    left, right = of(decided(3, number=1)), of(decided(4, 5, number=2))

    both = joined([left, None, right])

    assert both is not None
    assert both.subjects.tolist() == [3, 4, 5]
    assert joined([None, left]) is left
    assert joined([None, None]) is None


def test_row_is_cleared() -> None:
    contacts = decided(3)

    contacts.clear(ROW)

    assert contacts.read(ROW) is None
    assert list(contacts.rows()) == []


def test_capture_is_of_its_moment_and_comes_back() -> None:
    contacts = decided(3)
    capture = contacts.capture()
    contacts.reach(ROW, 1, 0, (ContactKind.CLICK, NOON_US), KEEP)
    pages: dict[str, list[dict[str, Any]]] = {}
    for page in capture:
        pages.setdefault(page.name, []).append(dict(page.arrays))

    again = Contacts()
    again.restore(pages)
    assert of(again).words.tolist() == decision_words([3]).tolist()

    again.add(ROW, NOON_US, 2, decision_words([8]), KEEP)
    assert of(again).subjects.tolist() == [3, 8]
    assert list(again.rows()) == [ROW]
