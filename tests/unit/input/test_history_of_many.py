"""The history of many customers at once, where it is not simply that of each."""

import numpy as np
import pytest

from server.domain.attribute import IntRow
from server.domain.contact import ContactKind, ContactScope, ContactSubject, HistoryVariable
from server.input.contacts import decision_words, outcome_words
from server.input.history import HistoryReader
from server.input.pages import PAGE_ROWS
from server.input.profiles import ProfileTable
from tests.support.catalogs import number
from tests.support.clock import NOON_US, us_ago
from tests.support.tables import link, table

DECISIONS = HistoryVariable(ContactKind.DECISION, 365)
SINCE = HistoryVariable(ContactKind.DECISION, None)
NAN = float("nan")


def subject(offer_id: str = "a", group: str = "") -> ContactSubject:
    return ContactSubject(offer_id, "home", "web", "discount", group)


def crowd(count: int) -> ProfileTable:
    profiles = table(number("visits"))
    for place in range(count):
        profiles.ensure(f"c{place}")
    return profiles


def decide(profiles: ProfileTable, customer_id: str, time_us: int, *subjects: int) -> None:
    profiles.contacts.add(profiles.find(customer_id), time_us, 1, decision_words(subjects), 0)


def everybody(profiles: ProfileTable) -> IntRow:
    return np.arange(profiles.identifiers.end)


def test_cells_behind_the_last_event_are_no_decisions() -> None:
    profiles = crowd(3)
    decide(profiles, "c1", us_ago(days=2), 0)
    reader = HistoryReader([DECISIONS, SINCE], [subject()])

    values = reader.read_rows(profiles, everybody(profiles), NOON_US)

    np.testing.assert_array_equal(values, [[0, 1, 0], [NAN, 2, NAN]])


def test_whoever_only_clicked_was_never_decided_for() -> None:
    profiles = crowd(2)
    profiles.contacts.add(1, us_ago(days=2), 1, outcome_words(0, 0, [ContactKind.CLICK]), 0)
    reader = HistoryReader([SINCE, HistoryVariable(ContactKind.CLICK, None)], [subject()])

    values = reader.read_rows(profiles, everybody(profiles), NOON_US)

    np.testing.assert_array_equal(values, [[NAN, NAN], [NAN, 2]])


def test_a_decision_of_1970_that_looks_like_nothing_counts() -> None:
    profiles = crowd(2)
    profiles.contacts.add(0, 0, 0, decision_words([0]), 0)
    reader = HistoryReader([SINCE], [subject()])

    values = reader.read_rows(profiles, everybody(profiles), NOON_US)

    assert values[0, 0] == np.float32(NOON_US / 86_400_000_000)
    assert np.isnan(values[0, 1])


def test_what_was_cleared_does_not_count_for_whoever_gets_its_place() -> None:
    profiles = crowd(2)
    decide(profiles, "c0", us_ago(days=1), 0, 0, 0, 0, 0)
    profiles.contacts.clear(0)
    decide(profiles, "c1", us_ago(days=1), 0)
    reader = HistoryReader([DECISIONS], [subject()])

    assert reader.read_rows(profiles, everybody(profiles), NOON_US).tolist() == [[0, 1]]


def test_customers_of_several_identifiers_on_other_pages_have_the_contacts_of_all() -> None:
    profiles = crowd(3 * PAGE_ROWS)
    for customer_id in ("c3", f"c{PAGE_ROWS}", f"c{2 * PAGE_ROWS + 1}", "c5"):
        decide(profiles, customer_id, us_ago(days=1), 0)
    link(profiles, "c3", f"c{2 * PAGE_ROWS + 1}")
    link(profiles, f"c{PAGE_ROWS}", "c3")
    customer = profiles.graph.customer(profiles.find("c3"))
    reader = HistoryReader([DECISIONS], [subject()])

    values = reader.read_rows(profiles, np.array([customer, profiles.find("c5"), 7]), NOON_US)

    assert values.tolist() == [[3, 1, 0]]


def test_nobody_has_a_history_where_there_are_no_contacts() -> None:
    reader = HistoryReader([DECISIONS, SINCE], [])

    values = reader.read_rows(crowd(2), np.arange(2), NOON_US)

    np.testing.assert_array_equal(values, [[0, 0], [NAN, NAN]])


@pytest.mark.parametrize(
    ("scope", "key", "expected"),
    [
        (ContactScope.ALL, "", [2, 1]),
        (ContactScope.OFFER, "b", [1, 0]),
        (ContactScope.EXCLUSION_GROUP, "g", [1, 1]),
        (ContactScope.TACTIC, "discount", [2, 1]),
        (ContactScope.TACTIC, "other", [0, 0]),
    ],
)
def test_subjects_that_come_later_are_learned(scope: ContactScope, key: str, expected: list[int]) -> None:
    profiles, subjects = crowd(2), [subject("a")]
    reader = HistoryReader([HistoryVariable(ContactKind.CLICK, 30, scope, key)], subjects)
    reader.read_rows(profiles, everybody(profiles), NOON_US)
    subjects += [subject("b", "g"), subject("c", "g")]

    for row, code in ((0, 0), (0, 1), (1, 2)):
        profiles.contacts.add(row, us_ago(days=1), 1, outcome_words(code, 0, [ContactKind.CLICK]), 0)

    assert reader.read_rows(profiles, everybody(profiles), NOON_US).tolist() == [expected]
